"""Core AI's reference runtime in a process of its own, which a bad file may end.

`serving` is that process; `talk` is what both sides say to each other.
"""
