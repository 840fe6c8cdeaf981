"""The kinds of device that this machine is, without a cable or an emulator.

How to add one: write `runtimes/devices/NAME.py` with `KIND`, a `runtimes.device.DeviceKind`.
Importing the file must start nothing and import no toolkit. `sam-bench --device` and
`sam-bench devices` find it; phones and emulators have the same folder in their harness.
"""
