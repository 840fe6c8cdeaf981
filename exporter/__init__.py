"""Segment Anything checkpoints to verified bundles for phones."""

__version__ = "0.1.0"
