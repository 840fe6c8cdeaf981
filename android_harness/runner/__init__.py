"""What runs on an Android device: one C program, and the ways to get it there.

`job.py` says what it does, `runner.c` does it, `report.py` reads its answer, `plans.py` turns a
bundle into jobs, and `ways.py` knows the ways: `capsule`, `ndk` and the user's `benchmark_model`.
"""
