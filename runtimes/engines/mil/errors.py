"""The error that this folder raises."""

from __future__ import annotations


class MilError(RuntimeError):
    """A package that cannot be read, or a program that cannot be run; one line saying why."""
