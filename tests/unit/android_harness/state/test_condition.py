"""Heat, battery, cores and facts out of recorded dumps (see tests/fakes/samples)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from android_harness.adb import sections
from android_harness.state import battery, condition, facts, thermal, topology
from exporter.errors import RequestError, TooHotError
from runtimes.device import Cluster, Condition, Temperature, ThermalStatus, core_numbers
from runtimes.remote import cooling
from runtimes.remote.errors import UnusableError
from tests.fakes.system import sample

PIXEL = sample("getprop-pixel-like-phone.txt")
EMULATOR = sample("getprop-emulator-x86_64-android14.txt")
XIAOMI = sample("thermalservice-android16-xiaomi.txt")


def test_heat_is_the_hals_and_not_the_cached():
    heat = thermal.parse(XIAOMI)
    assert heat.status == ThermalStatus(0, "none")
    assert heat.temperatures == (
        Temperature("CPU", "cpu", 57.9),
        Temperature("SKIN", "skin", 34.351),
    )


def test_every_sensor_and_no_threshold_or_fan():
    heat = thermal.parse(sample("thermalservice-qualcomm-per-core.txt"))
    assert [t.name for t in heat.temperatures][::5] == ["cpu0-silver-usr", "skin2"]
    assert len(heat.temperatures) == 6
    assert {t.kind for t in heat.temperatures} == {"cpu", "skin"}


def test_a_throttled_device_says_so():
    heat = thermal.parse(sample("thermalservice-throttling.txt"))
    assert (heat.status, heat.overridden) == (ThermalStatus(2, "moderate"), False)


def test_without_a_hal_nothing_is_known():
    assert thermal.parse(sample("thermalservice-no-hal.txt")) == thermal.Thermal()
    assert thermal.parse("Can't find service: thermalservice") == thermal.Thermal()


def test_an_override_is_seen():
    faked = XIAOMI.replace("IsStatusOverride: false", "IsStatusOverride: true")
    assert thermal.parse(faked).overridden
    seen = condition.parse({"thermal": faked})
    assert seen.thermal_status is None
    with pytest.raises(UnusableError, match=r"android:A: .*overridden.*thermalservice reset"):
        condition.refuse_override(seen, "android:A")


def test_values_no_sensor_means_are_dropped():
    text = XIAOMI.replace("mValue=57.9", "mValue=NaN").replace("mValue=34.351", "mValue=-3.4E38")
    assert thermal.parse(text).temperatures == ()


def test_battery_stops_at_the_event_log():
    cell = battery.parse(sample("battery-recent-with-eventlog.txt"))
    assert cell == battery.Battery(75, charging=True, celsius=35.7, stopped=False)


def test_a_full_battery_does_not_charge():
    cell = battery.parse(sample("battery-usb-full.txt"))
    assert (cell.percent, cell.charging, cell.celsius) == (100, False, 27.4)


def test_frozen_battery_values_are_flagged():
    cell = battery.parse(sample("battery-updates-stopped.txt"))
    assert cell.stopped
    assert condition.parse({"battery": sample("battery-updates-stopped.txt")}).notes[-1] == (
        "battery updates are stopped"
    )


def test_no_battery_at_all():
    assert battery.parse("Can't find service: battery") == battery.Battery()


CORES = "\n".join(
    ["possible=0-7", "online=0-7"]
    + [
        f"{line.split()[0]} {line.split()[1]} {line.split()[1]} {line.split()[3]}"
        for line in sample("cpu-topology-1-4-3.txt").splitlines()
        if line[:1].isdigit()
    ]
)


def test_clusters_are_grouped_by_their_top_frequency():
    found = topology.parse(CORES)
    assert found.clusters == (
        Cluster((0, 1, 2, 3), 1704000),
        Cluster((4, 5, 6), 2367000),
        Cluster((7,), 2914000),
    )
    assert found.frequencies["7"] == 500000
    assert found.held == {}


def test_a_core_that_is_held_back_is_seen():
    found = topology.parse(CORES.replace("7 2914000 2914000", "7 2914000 1747000"))
    assert found.held == {7: 1747000}
    notes = condition.parse(
        {"cores": CORES.replace("7 2914000 2914000", "7 2914000 1747000")}
    ).notes
    assert "core 7 is held to 1747000 kHz" in notes


@pytest.mark.parametrize(
    ("wanted", "threads", "cores"),
    [
        ("fast", 1, (7,)),
        ("fast", 2, (4, 5, 6, 7)),
        ("fast", 4, (4, 5, 6, 7)),
        ("fast", 8, (0, 1, 2, 3, 4, 5, 6, 7)),
        ("all", 2, ()),
        ("4,5", 2, (4, 5)),
        ("0-2,7", 2, (0, 1, 2, 7)),
    ],
)
def test_the_choice_of_cores(wanted, threads, cores):
    assert topology.parse(CORES).choose(wanted, threads) == cores


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("8", "core 8 does not exist: this device has 0-7"),
        ("4,6", "core 6 is offline; online: 0-5, 7"),
        ("quick", "`fast`, `all` or numbers as 4,5,7 or 4-7; not 'quick'"),
        ("7-4", "not '7-4'"),
        ("4;rm", "not '4;rm'"),
        ("", "not ''"),
    ],
)
def test_cores_that_cannot_be_chosen(wanted, words):
    with pytest.raises(RequestError, match=words):
        topology.parse(CORES.replace("online=0-7", "online=0-5,7")).choose(wanted, 2)


def test_offline_cores_are_not_fast():
    found = topology.parse(CORES.replace("online=0-7", "online=0-6"))
    assert found.choose("fast", 2) == (4, 5, 6)


def test_without_frequencies_there_is_one_cluster():
    found = topology.parse("possible=0-3\nonline=0-3\n0 - - -\n1 - - -\n2 - - -\n3 - - -\n")
    assert found.clusters == (Cluster((0, 1, 2, 3), None),)
    assert found.choose("fast", 2) == (0, 1, 2, 3)
    assert found.frequencies == {}


def test_lists_of_cores():
    assert core_numbers("0,2-3,31") == (0, 2, 3, 31)
    assert core_numbers("5,4-4,4") == (4, 5)


@pytest.mark.parametrize("text", ["", "4-", "-4", "4,,5", "4-5-6", "7-4", "1,7-4", "4 5", "four"])
def test_what_is_no_list_of_cores(text):
    with pytest.raises(ValueError, match=r"core numbers|goes down"):
        core_numbers(text)


def test_facts_of_a_phone():
    answers = {
        "properties": PIXEL,
        "cores": CORES,
        "memory": "MemTotal:        7813524 kB",
        "page": "16384",
        "kernel": "6.1.99-android14 aarch64",
    }
    known = facts.parse(answers, "android:X", "X")
    assert known.device_class == "phone"
    assert (known.manufacturer, known.model, known.soc) == ("Google", "Pixel 8", "Google Tensor G3")
    assert known.system == "Android 15 (API 35)"
    assert known.build == "google/shiba/shiba:15/AP4A.250105.002/12701944:user/release-keys"
    assert (known.abi, known.memory_mb, known.page_size) == ("arm64-v8a", 7630, 16384)
    assert len(known.clusters) == 3
    assert facts.problem_of(known, answers) == ""


def test_an_emulator_runs_what_its_processor_runs_and_not_what_it_translates():
    known = facts.parse({"properties": EMULATOR}, "android:emulator-5554", "emulator-5554")
    assert known.device_class == "emulator"
    assert known.abi == "x86_64"
    assert known.soc == "ranchu"


def test_property_values_may_hold_anything():
    text = (
        "[a]: [90,2,12]\n[b]: [x] y]\n[c]: []\n[d]: [two\nlines]\n"
        "[e]: [[nested]: [thing]]\n[last]: [1]\n"
    )
    assert facts.properties(text) == {
        "a": "90,2,12",
        "b": "x] y",
        "c": "",
        "d": "two\nlines",
        "e": "[nested]: [thing]",
        "last": "1",
    }
    assert facts.properties(PIXEL)["bluetooth.device.class_of_device"] == "90,2,12"


def test_free_space():
    text = "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/dm-5 100 60 40 60% /data\n"
    assert facts.free_kb(text) == 40
    assert facts.free_kb("df: /data: Permission denied") is None


def test_what_keeps_a_device_from_being_used():
    known = facts.parse({"properties": PIXEL}, "android:X", "X")
    old = replace(known, abi="armeabi-v7a")
    assert facts.problem_of(old, {}).startswith("its ABI is armeabi-v7a; a runner exists for arm64")
    full = {"space": "F 1K-blocks Used Available Use% M\n/dev/x 100 60 4096 60% /data\n"}
    assert facts.problem_of(known, full).startswith("full: 4 MB are free")


def test_sections_survive_what_their_parts_print():
    text = "noise\n@@sam-export a\n\n one\ntwo \n\n@@sam-export b\n\n@@sam-export c\n@@x\n"
    assert sections.split(text) == {"a": "one\ntwo", "b": "", "c": "@@x"}


def test_a_condition_says_what_is_not_quiet():
    seen = condition.parse(
        {
            "thermal": XIAOMI,
            "battery": sample("battery-recent-with-eventlog.txt").replace("level: 75", "level: 12"),
            "power": "  mWakefulness=Asleep",
            "load": "8.10 7.00 6.00 1/900 12345",
            "airplane": "0",
            "wifi": "1",
            "saver": "1",
        }
    )
    assert (seen.thermal_status.level, seen.battery_percent, seen.load) == (0, 12, 8.1)
    assert seen.awake is False
    assert Temperature("battery", "battery", 35.7) in seen.temperatures
    assert seen.notes == (
        "the battery is low",
        "battery saver is on",
        "airplane mode is off",
        "Wi-Fi is on",
    )


def test_a_condition_of_nothing_is_nothing():
    seen = condition.parse({})
    assert seen == Condition(at=seen.at, notes=("the device tells no thermal status",))


def at(status, skin):
    heat = () if skin is None else (Temperature("cpu", "cpu", 90), Temperature("s", "skin", skin))
    told = None if status is None else thermal.status_of(status)
    return Condition(at="", thermal_status=told, temperatures=heat)


class Clock:
    """Time passes only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def cooled(seen, start, limit=60.0):
    clock, waiting = Clock(), iter(seen)
    found = cooling.cool(
        lambda: next(waiting), start, limit, device="android:A1", sleep=clock.sleep, clock=clock
    )
    return found, clock.now


def test_a_cool_device_is_not_waited_for():
    assert cooled([at(0, 33.9)], at(0, 32)) == (at(0, 33.9), 0)
    assert cooled([at(None, None)], at(None, None)) == (at(None, None), 0)


def test_status_and_skin_must_both_come_down():
    seen = [at(2, 40), at(0, 36), at(1, 33), at(0, 34.0)]
    assert cooled(seen, at(0, 32)) == (at(0, 34.0), 15)


def test_a_device_that_is_hot_at_the_start_must_cool_too():
    assert cooled([at(2, 40), at(0, 40)], at(2, 40)) == (at(0, 40), 5)


def test_a_device_that_never_cools_says_how_hot_it_is():
    with pytest.raises(
        TooHotError, match=r"within 12 s: thermal status moderate, skin 40.1 °C, over 34.0"
    ):
        cooled([at(2, 40.1)] * 10, at(0, 32), limit=12)


def test_without_skin_the_battery_tells():
    def cell(celsius):
        return Condition(at="", temperatures=(Temperature("b", "battery", celsius),))

    with pytest.raises(TooHotError, match=r"battery 35.0 °C, over 34.0"):
        cooled([cell(35.0)] * 3, cell(32), limit=6)
