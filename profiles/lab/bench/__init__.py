"""The published arithmetic, and what ours costs beside it: `make bench`."""
