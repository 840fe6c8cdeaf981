"""The kinds of Apple device.

How to add one: write `ios_harness/devices/NAME.py` with `KIND`, a `runtimes.device.DeviceKind`
whose name is the file's. `--device NAME:ID` and `sam-bench devices` find it; nothing else changes.
"""
