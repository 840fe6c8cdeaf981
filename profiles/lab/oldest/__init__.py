"""`make oldest`: the oldest runtimes that a bundle was run in, from wheels that still install."""
