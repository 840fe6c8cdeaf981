"""Run the MIL program of a saved Core ML package with numpy, on any machine.

Core ML itself runs on Apple systems only. This reads an .mlpackage from disk exactly as it was
saved and runs its program, so an export is checked where it is made:

    program = load_package(Path("image_encoder.mlpackage"))
    outputs = program.run({"image": image})

How to add an operation: write one function in the fitting `ops_*.py`, list it in that file's
`OPERATIONS`, and test it in `tests/unit/mil` against torch or numbers worked out by hand. A test
fails for an operation that no test runs.
"""

from __future__ import annotations

from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.package import load_package
from runtimes.engines.mil.program import Program

__all__ = ["MilError", "Program", "load_package"]
