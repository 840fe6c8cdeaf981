"""Our exports against the published arithmetic: speed, operations and cost. `make bench`."""
