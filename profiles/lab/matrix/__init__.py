"""Every variant in every format and precision, exported and checked: `make matrix`."""
