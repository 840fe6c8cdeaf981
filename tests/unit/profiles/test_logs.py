from __future__ import annotations

import logging

import pytest

from profiles.logs import show

ADB, DEVICE = logging.getLogger("sam_export.adb"), logging.getLogger("sam_export.device")


def _speak(debug):
    progress: list[str] = []
    warnings: list[str] = []
    with show(progress.append, warnings.append, debug=debug):
        DEVICE.info("pushing %s, %d MB", "a.onnx", 21)
        ADB.debug("adb devices -> 0")
        ADB.warning("another server")
        logging.getLogger("somebody.else").warning("theirs")
    return progress, warnings


def test_what_takes_long_is_progress_and_adb_is_not():
    assert _speak(debug=False) == (["pushing a.onnx, 21 MB"], ["another server"])


def test_debug_adds_every_call_of_adb():
    assert _speak(debug=True)[0] == ["pushing a.onnx, 21 MB", "adb devices -> 0"]


def test_the_loggers_are_left_as_they_were():
    root = logging.getLogger("sam_export")
    before = (root.level, root.propagate, list(root.handlers))
    progress: list[str] = []
    with pytest.raises(KeyError), show(progress.append, progress.append, debug=True):
        raise KeyError
    assert (root.level, root.propagate, list(root.handlers)) == before
    DEVICE.info("pushing")
    assert progress == []
