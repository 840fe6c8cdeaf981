"""What is asked of a simulated phone before it is measured, and what is said meanwhile."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from android_harness import workspace
from exporter.bundle.folder import open_bundle
from exporter.errors import RequestError
from runtimes.device import Method
from runtimes.remote.errors import UnusableError
from tests.device.android_kit import assert_tidy, look_at, scripted

METHOD = Method(check=False, cores="all")


@pytest.fixture
def device(phone, adb_environment, monkeypatch, tmp_path):
    look_at(adb_environment, monkeypatch)
    return scripted(phone, tmp_path)


def asked_for(phone, word):
    """How often a command line with that word in it came."""
    return sum(line.count(word) for line in phone.commands)


def test_what_a_phone_is_is_asked_once(device, phone):
    phone.commands.clear()
    known = device.facts()
    assert asked_for(phone, "getprop") == 1
    assert asked_for(phone, "dumpsys") == 1  # its battery, in the same trip
    assert device.facts() == known
    assert len(phone.commands) == 1
    with device.open(METHOD) as bench:
        assert bench.facts == known
    assert asked_for(phone, "getprop") == 1
    assert asked_for(phone, "getconf") == 1


def test_who_opens_at_once_gets_the_same_facts(device, phone, tmp_path):
    phone.commands.clear()
    with device.open(METHOD) as bench:
        known = bench.facts
    assert asked_for(phone, "getprop") == 1
    assert device.facts() == known == scripted(phone, tmp_path).facts()


def test_a_phone_that_filled_up_since_it_was_asked_is_not_opened(device, phone, faults):
    device.facts()
    faults.storage_bytes = 5 << 20
    with pytest.raises(UnusableError, match="full: "), device.open(METHOD):
        pass
    assert_tidy(phone)


def test_a_core_is_looked_for_when_the_phone_is_opened(device, phone):
    device.facts()
    with (
        pytest.raises(RequestError, match="core 99 does not exist"),
        device.open(replace(METHOD, cores="99")),
    ):
        pass
    assert phone.calls == []


def test_every_line_about_pushing_names_the_phone(device, phone, tiny_folder, monkeypatch, caplog):
    monkeypatch.setattr(workspace, "BIG", 1)
    caplog.set_level(logging.INFO, "sam_export.device")
    with device.open(METHOD) as bench:
        bench.prepare(open_bundle(tiny_folder))
    said = [line for line in caplog.messages if "push" in line]
    assert len([line for line in said if " pushing " in line]) >= 2
    assert len([line for line in said if " pushed " in line]) >= 2
    assert any(line.endswith("MB pushed") for line in said)
    for line in said:
        assert line.startswith(f"android:{phone.serial}: "), line
