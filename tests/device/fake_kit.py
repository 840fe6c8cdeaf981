"""What the tests of the simulated phones share."""

from __future__ import annotations

import time

import pytest

TMP = "/data/local/tmp"


def until(condition, seconds=10.0):
    """Waits for what another process does; says whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def only_sandboxed(phone):
    """Skips where commands see this host's processes and files."""
    if phone.sandbox.name == "plain":
        pytest.skip(f"needs a sandbox: {phone.sandbox.why}")


def failed(done, why):
    """Whether the client failed and said so; adb 29 tells of files on stdout, newer ones do not."""
    return done.returncode == 1 and why in done.stdout + done.stderr
