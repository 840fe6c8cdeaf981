"""Core AI's reference runtime in a process of its own, which a bad file may end.

`serving` is that process; `talk` is what both sides say to each other; `widening` makes float32
arithmetic of half.
"""

LITERAL, FLOAT32 = "literal", "float32"
"""Arithmetic: what the file says, or float32 on the weights that it stores."""
