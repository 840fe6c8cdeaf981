"""A fake of coremltools 9: of its runner on phones, what `ios_harness.modelrunner` calls.

Its phone is one of `tests.fakes.apple.world`; a package is an ONNX file for ONNX Runtime.
Names and arguments are compared with the real ones by a test.
"""

from enum import Enum


class ComputeUnit(Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4
