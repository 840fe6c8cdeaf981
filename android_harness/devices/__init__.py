"""The kinds of Android device.

How to add one: write `android_harness/devices/NAME.py` with `KIND`, a `runtimes.device.DeviceKind`
whose name is the file's. `--device NAME:ID` and `sam-bench devices` find it; nothing else changes.
"""
