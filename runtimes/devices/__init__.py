"""The kinds of device that this machine is, without a cable or an emulator.

How to add a kind: write `runtimes/devices/NAME.py` with `KIND`, a `runtimes.device.DeviceKind`.
Importing the file must start nothing and import no toolkit. `sam-bench --device` and
`sam-bench devices` find the file; phones and emulators have the same folder in their harness.
"""

from __future__ import annotations

from exporter import catalog
from runtimes.device import DeviceKind


def kinds() -> tuple[DeviceKind, ...]:
    """Every kind, in the order of the file names."""
    return tuple(catalog.load(__name__, name, "KIND") for name in catalog.names(__name__))
