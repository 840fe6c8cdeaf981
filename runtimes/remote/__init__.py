"""A bundle as work for a runner elsewhere: a phone, a simulator, whatever has no Python.

`plans.py` turns a bundle into jobs, `job.py` is a job as text for a C program, `report.py` reads
its answer.
"""
