"""The maintainers' workshop: benchmarks, the matrix of exports, the demo model's training.

The top floor: it may import everything, torch included, and nothing imports it.
"""
