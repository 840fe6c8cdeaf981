"""Which devices there are, what they are, and why one cannot be used."""

from __future__ import annotations

import pytest

from android_harness import devices
from android_harness.adb.connection import Connection
from android_harness.adb.program import find_adb
from android_harness.adb.rows import AdbRow
from android_harness.devices import android
from android_harness.errors import UnauthorizedError
from exporter import catalog
from exporter.errors import RequestError
from profiles import kinds
from runtimes.device import Method
from runtimes.remote.errors import AmbiguousError, UnusableError
from tests.device.android_kit import look_at
from tests.fakes.system import eight_cores


@pytest.fixture
def here(adb_environment, monkeypatch, tmp_path):
    """The private server, and no emulator program."""
    look_at(adb_environment, monkeypatch)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)


def phones():
    """Rows of `sam-bench devices` about Android."""
    return tuple(row for row in kinds.listed() if row.device.partition(":")[0] == "android")


def test_every_kind_is_named_as_its_file():
    found = [
        catalog.load(devices.__name__, name, "KIND") for name in catalog.names(devices.__name__)
    ]
    assert [kind.name for kind in found] == ["android", "emulator"]
    for kind in found:
        assert kind.ways == ("ndk", "capsule", "benchmark_model")
        assert kind.delegates == ("cpu", "xnnpack", "nnapi", "gpu")
        assert [mode.name for mode in kind.modes] == ["fixed-performance"]
        assert [option.name for option in kind.options] == ["adb"]


def test_facts_of_a_simulated_phone(here, phone):
    phone.set_cores(eight_cores())
    known = android.find("").facts()
    assert known.device == f"android:{phone.serial}"
    assert known.device_class == "simulated"
    assert (known.abi, known.model) == ("x86_64", "sdk_gphone64_x86_64")
    assert [len(cluster.cores) for cluster in known.clusters] == [4, 3, 1]
    assert known.memory_mb > 256
    assert known.page_size >= 4096


def test_facts_take_one_trip(here, phone):
    device = android.find(phone.serial)
    phone.commands.clear()
    device.facts()
    assert len(phone.commands) == 1


def test_an_arm64_phone_is_known_by_its_own_words(here, phone_arm64):
    known = android.find("").facts()
    assert (known.abi, known.model, known.soc) == ("arm64-v8a", "Pixel 8", "Google Tensor G3")
    assert known.system == "Android 15 (API 35)"


def test_two_phones_are_listed_and_none_is_guessed(here, phone, second_phone):
    for one in (phone, second_phone):
        one.set_state("setting.global.airplane_mode_on", "0\n")
    rows = phones()
    assert {row.device for row in rows} == {
        f"android:{one.serial}" for one in (phone, second_phone)
    }
    for row in rows:
        assert (row.problem, row.facts.device) == ("", row.device)
        assert row.condition.thermal_status.word == "none"
        assert row.condition.battery_percent == 100
        assert row.condition.awake is False
        assert "airplane mode is off" in row.condition.notes
    with pytest.raises(AmbiguousError, match="several devices"):
        android.find("")


def test_each_is_reached_by_every_name_it_has(here, phone, second_phone, monkeypatch):
    ids = {row.serial: row.details["transport_id"] for row in find_adb().rows()}
    for one in (phone, second_phone):
        for name in (one.serial, f"android:{one.serial}"):
            assert kinds.find(name).facts().device == f"android:{one.serial}"
        monkeypatch.setenv("ANDROID_SERIAL", one.serial)
        assert android.find("").facts().device == f"android:{one.serial}"
        by_number = Connection(find_adb(), f"transport_id:{ids[one.serial]}")
        assert by_number.is_there()
        assert by_number.check("echo here") == "here\n"
    # As of devices that share a serial, which two connections over TCP cannot.
    monkeypatch.setattr(AdbRow, "name", property(lambda row: f"transport_id:{ids[row.serial]}"))
    assert {row.device for row in phones()} == {f"android:transport_id:{n}" for n in ids.values()}
    assert [row.problem for row in phones()] == ["", ""]


def test_an_unauthorized_phone_is_listed_with_what_to_do(here, phone, faults, adb_server):
    faults.unauthorized = True
    adb_server.disconnect(phone)
    adb_server.adb("connect", phone.serial)
    (row,) = phones()
    assert (row.device, row.facts, row.condition) == (f"android:{phone.serial}", None, None)
    assert row.problem.startswith("unauthorized: unlock its screen")
    with pytest.raises(UnauthorizedError, match="unlock its screen"):
        android.find(phone.serial)


def test_an_offline_phone_is_listed_with_what_to_do(here, phone, faults, adb_server):
    faults.silent = True
    adb_server.disconnect(phone)
    adb_server.adb("connect", phone.serial)
    (row,) = phones()
    assert row.problem.startswith("offline: plug it in again")


def test_a_full_phone_is_listed_as_full_and_not_opened(here, phone, faults):
    faults.storage_bytes = 5 << 20
    (row,) = phones()
    assert row.problem.startswith("full: ")
    assert row.facts.model == "sdk_gphone64_x86_64"
    with pytest.raises(UnusableError, match="full: "), android.find("").open(Method()):
        pass


def test_a_phone_of_another_processor_is_listed_as_such(here, phone):
    phone.set_property("ro.product.cpu.abi", "armeabi-v7a")
    (row,) = phones()
    assert row.problem.startswith("its ABI is armeabi-v7a")
    with pytest.raises(RequestError, match="armeabi-v7a"):
        android.find("").facts()


def test_without_adb_the_list_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("SAM_EXPORT_ADB", str(tmp_path / "adb"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    rows = phones()
    assert [(row.device, row.facts) for row in rows] == [("android", None)]
    assert "is not a program" in rows[0].problem


def test_cleaning_by_name(here, phone):
    assert android.KIND.clean(phone.serial) == "0.0 MB removed"
    (phone.tmp / "sam-export").mkdir()
    (phone.tmp / "sam-export/x").write_bytes(bytes(3 << 20))
    assert android.KIND.clean("") == "3.0 MB removed"
    assert phone.files() == []
