"""What a system runs on: named by what gives it away, and a phone only with a proof.

The facts of each are those of public property dumps and kernels, cut to what tells; names that an
emulator borrows from a phone are left in.
"""

from __future__ import annotations

import dataclasses

import pytest

from android_harness.state import facts
from android_harness.state.device_class import judge, judge_row
from android_harness.state.evidence import PARTS, evidence_of
from tests.fakes.system import sample
from tests.unit.profile_making import COOL, PHONE

PIXEL = facts.properties(sample("getprop-pixel-like-phone.txt"))
GALAXY = {
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-S921B",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.hardware": "s5e9945",
    "ro.board.platform": "erd9945",
    "ro.build.fingerprint": "samsung/e1sxxx/e1s:14/UP1A.231005.007/S921BXXU1AXB1:user/release-keys",
    "gsm.version.baseband": "S921BXXU1AXB1",
}
BORROWED = GALAXY | {"ro.hardware": "qcom", "ro.board.platform": "kalama"}
X86 = {"ro.product.cpu.abi": "x86_64"}
ARM = {"ro.product.cpu.abi": "arm64-v8a"}
KRYO = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd46\n\nprocessor\t: 7\n"
KRYO += "CPU implementer\t: 0x41\nCPU part\t: 0xd4e\n"
NEOVERSE = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
XEON = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\nflags\t: fpu vme\n"
)
PHONE_KERNEL = (
    "Linux version 6.1.57-android14-11-g2d4c (builder@ubuntu-20) (Debian clang version 17) #1 SMP"
)
CHARGED = "Current Battery Service state:\n  USB powered: true\n  present: true\n  level: 80\n"
HAND = "feature:android.hardware.touchscreen\nfeature:android.hardware.telephony\n"
REAL = {
    "version": PHONE_KERNEL,
    "machine": "aarch64",
    "processor": KRYO,
    "features": HAND,
    "battery": CHARGED,
}


def class_of(props, answers=None, serial="R5CT1"):
    """The class, after everything went through the text that is stored."""
    return judge(evidence_of(answers or {}, props, serial))


EMULATORS = {
    "genymotion": X86
    | {"ro.hardware": "vbox86", "ro.product.model": "Pixel 3", "ro.product.brand": "generic"},
    "genymotion in the cloud": BORROWED | {"ro.product.device": "motion_phone_arm64"},
    "genymotion by its properties": BORROWED | {"ro.genymotion.version": "3.2"},
    "redroid": ARM | {"ro.hardware": "redroid", "ro.product.model": "redroid13_arm64"},
    "redroid with a borrowed name": BORROWED | {"ro.boot.hardware": "redroid"},
    "waydroid": ARM | {"ro.product.device": "waydroid_arm64", "ro.hardware": "qcom"},
    "waydroid by its properties": BORROWED | {"waydroid.active_apps": "full"},
    "bluestacks": BORROWED | X86 | {"bst.version": "5.21"},
    "bluestacks on a Mac": BORROWED | {"bst.version": "5.21"},
    "nox": BORROWED | X86 | {"init.svc.noxd": "running"},
    "ldplayer": BORROWED | {"init.svc.ldinit": "running"},
    "memu": BORROWED | {"init.svc.microvirtd": "running"},
    "mumu": BORROWED | {"ro.product.board": "mumu"},
    "windows": X86
    | {"ro.product.model": "Subsystem for Android(TM)", "ro.product.device": "windows_x86_64"},
    "windows on arm": ARM | {"ro.product.device": "windows_arm64"},
    "arc": ARM | {"ro.product.device": "kukui_cheets", "ro.hardware": "cheets"},
    "arcvm": ARM | {"ro.hardware": "bertha"},
    "arc by its container": BORROWED | {"ro.boot.container": "1"},
    "android-x86": X86 | {"ro.hardware": "android_x86_64", "ro.product.model": "ThinkPad"},
    "cuttlefish": ARM | {"ro.hardware": "cutf_cvm", "ro.product.device": "vsoc_arm64"},
    "android studio": PIXEL | {"ro.kernel.qemu": "1"},
    "android studio since 12": PIXEL | {"ro.boot.qemu": "1"},
    "android studio on a Mac": ARM
    | {"ro.product.model": "sdk_gphone64_arm64", "ro.product.device": "emu64a"},
    "android studio by its services": PIXEL | {"init.svc.qemu-props": "stopped"},
    "the sample": facts.properties(sample("getprop-emulator-x86_64-android14.txt")),
    "a translator under borrowed names": BORROWED | {"ro.dalvik.vm.native.bridge": "libhoudini.so"},
    "lineage for virtual machines": ARM | {"ro.product.device": "virtio_arm64only"},
}


@pytest.mark.parametrize("name", EMULATORS)
def test_what_android_says_of_an_emulator_is_enough(name):
    found, reason = class_of(EMULATORS[name])
    assert found == "emulator"
    assert reason


@pytest.mark.parametrize("name", EMULATORS)
def test_a_battery_a_touch_screen_and_a_phones_kernel_do_not_hide_an_emulator(name):
    assert class_of(EMULATORS[name], REAL)[0] == "emulator"


MACHINES = {
    "a container's mark": ({"files": "/.dockerenv\n"}, "it has /.dockerenv"),
    "the guest's device": ({"files": "/dev/vboxguest"}, "it has /dev/vboxguest"),
    "a cloud": ({"maker of the machine": "Amazon EC2\nm7g.large"}, "computer by Amazon EC2 m7g"),
    "graviton": ({"processor": NEOVERSE}, "processor of a server or a Mac: 0x41:0xd0c"),
    "a mac": ({"processor": NEOVERSE.replace("0x41", "0x61")}, "a server or a Mac: 0x61:"),
    "kunpeng": (
        {"processor": KRYO.replace("0x41", "0x48").replace("0xd46", "0xd01")},
        "0x48:0xd01",
    ),
    "ubuntu": (
        {"version": "Linux version 6.5.0-1020-aws (b@l) (gcc)"},
        "kernel of a computer: aws",
    ),
    "debian": ({"version": "Linux version 6.1.0-18-arm64 (d) (gcc)"}, "a computer: 18-arm64"),
    "wsl": ({"version": "Linux version 5.15.1-microsoft-standard-WSL2 (r)"}, "microsoft"),
    "fedora": ({"version": "Linux version 6.6.8-200.fc39.aarch64 (m)"}, "fc39"),
    "qemu's board": ({"board": "linux,dummy-virt"}, "the board linux,dummy-virt"),
    "chrome's feature": ({"features": HAND + "feature:org.chromium.arc\n"}, "chromium.arc"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_names_of_a_phone_on_a_computer_are_an_emulator(name):
    answers, words = MACHINES[name]
    found, reason = class_of(GALAXY, REAL | answers)
    assert found == "emulator"
    assert words in reason


def test_by_adbs_own_name():
    assert class_of(GALAXY, REAL, "emulator-5554")[0] == "emulator"
    assert class_of(GALAXY, REAL, "emulator-5554 (2)._adb-tls-connect._tcp")[0] == "phone"


@pytest.mark.parametrize(
    ("processor", "kind"),
    [
        (XEON, "emulator"),
        (XEON.replace("GenuineIntel", "AuthenticAMD"), "emulator"),
        (XEON.replace("Xeon(R)", "Atom(TM) CPU Z3580"), "unknown"),
        (XEON.replace("Xeon(R)", "Atom(TM)").replace("vme", "hypervisor"), "emulator"),
        ("", "unknown"),
    ],
)
def test_an_x86_system_is_never_a_phone(processor, kind):
    answers = REAL | {"machine": "x86_64", "processor": processor}
    assert class_of(BORROWED | X86, answers)[0] == kind


@pytest.mark.parametrize(
    ("props", "answers"),
    [
        (PIXEL, {}),
        (PIXEL, REAL),
        (GALAXY, REAL),
        (GALAXY, REAL | {"features": "", "battery": ""}),
        (ARM | {"ro.board.platform": "mt6897", "ro.build.characteristics": "default"}, REAL),
        (ARM | {"ro.soc.manufacturer": "QTI", "ro.soc.model": "SM8650"}, REAL),
        (ARM | {"ro.hardware": "qcom", "ro.build.characteristics": "tablet,nosdcard"}, REAL),
        (ARM | {"ro.board.platform": "ums512"}, {"battery": CHARGED}),
        (GALAXY | {"ro.product.cpu.abi": "armeabi-v7a"}, REAL),
        (ARM | {"ro.hardware": "shiba", "ro.product.brand": "google"}, {}),
        (GALAXY | {"qemu.hw.mainkeys": "0", "ro.kernel.qemu": "0"}, REAL),
    ],
)
def test_a_phone_proves_itself_by_its_chip_and_a_sign(props, answers):
    found, reason = class_of(props, answers)
    assert found == "phone"
    assert reason.startswith("chip ")


@pytest.mark.parametrize(
    ("props", "answers", "words"),
    [
        ({}, {}, "ABI ?"),
        ({}, REAL, "ABI ?"),
        (ARM, REAL, "its chip is none"),
        (ARM | {"ro.board.platform": "rk3588"}, REAL, "its chip is none"),
        (ARM | {"ro.board.platform": "sun50iw9p1"}, REAL, "its chip is none"),
        (ARM | {"ro.hardware": "rpi4", "ro.board.platform": "bcm2711"}, REAL, "its chip is none"),
        (ARM | {"ro.product.cpu.abi": "riscv64"}, REAL, "ABI riscv64"),
        (ARM | {"ro.board.platform": "mt8696"}, {}, "held in a hand"),
        (
            ARM | {"ro.board.platform": "mt8696", "ro.product.brand": "xiaomi"},
            {"features": "feature:android.hardware.type.embedded"},
            "embedded",
        ),
        (GALAXY, REAL | {"battery": CHARGED.replace("true\n  level", "false\n  level")}, "battery"),
        (GALAXY | {"ro.build.characteristics": "nosdcard,tv"}, REAL, "another kind: tv"),
        (GALAXY | {"ro.build.characteristics": "watch"}, REAL, "another kind: watch"),
        (GALAXY, REAL | {"features": "feature:android.software.leanback"}, "kind: leanback"),
        (GALAXY, REAL | {"features": "feature:android.hardware.type.automotive"}, "automotive"),
        (GALAXY, REAL | {"features": "feature:amazon.hardware.fire_tv"}, "fire_tv"),
        (GALAXY, REAL | {"features": "feature:android.hardware.vr.headtracking"}, "vr"),
    ],
)
def test_what_proves_nothing_is_unknown(props, answers, words):
    found, reason = class_of(props, answers)
    assert found == "unknown"
    assert words in reason


def test_files_of_another_machine_tell_nothing():
    """What a relay or a stand-in answers from its own disk: an arm64 system has no x86 kernel."""
    relayed = {"machine": "x86_64", "processor": XEON, "files": "/.dockerenv"}
    assert class_of(PIXEL, relayed)[0] == "phone"
    assert class_of(BORROWED | {"init.svc.noxd": "running"}, relayed)[0] == "emulator"


def test_the_tests_own_device_is_simulated_whatever_else_it_says():
    assert (
        class_of(PIXEL | {"ro.sam_export.simulated": "1", "ro.kernel.qemu": "1"})[0] == "simulated"
    )


def test_the_facts_are_short_lines_whatever_a_device_answers():
    wild = "\x1b[2J" + "x" * 10**6
    answers = dict.fromkeys(PARTS, wild) | {"processor": f"model name: {wild}\nflags: {wild}"}
    kept = evidence_of(answers, dict.fromkeys(PIXEL, wild), "A\nB")
    assert kept["serial"] == r"A\nB"
    assert all(value.isprintable() and len(value) < 300 for value in kept.values())
    known = facts.parse({"properties": f"[ro.product.model]: [{wild}]\n"}, "android:A", "A")
    assert known.model.startswith(r"\x1b[2Jxxx")
    assert len(known.model) < 300


def row(**changes):
    return dataclasses.replace(PHONE, **({"evidence": None} | changes))


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        (row(soc="Google Tensor G3", build=PIXEL["ro.build.fingerprint"]), "phone"),
        (row(soc="vbox86", model="Pixel 3"), "emulator"),
        (row(soc="", build="waydroid/lineage_waydroid_arm64/waydroid_arm64:11/x"), "emulator"),
        (row(model="Subsystem for Android(TM)", abi="x86_64"), "emulator"),
        (row(device="android:emulator-5554"), "emulator"),
        (row(soc="Google Tensor G3"), "unknown"),
        (row(soc="Google Tensor G3", build=PIXEL["ro.build.fingerprint"], abi="x86_64"), "unknown"),
        (row(), "unknown"),
        (row(device_class="simulated", soc="vbox86"), "simulated"),
        (row(device_class="emulator"), "emulator"),
    ],
)
def test_a_row_without_facts_is_judged_by_what_it_shows(known, kind):
    assert judge_row(known, COOL)[0] == kind


def test_a_row_without_a_battery_proves_no_phone():
    known = row(soc="Google Tensor G3", build=PIXEL["ro.build.fingerprint"])
    assert judge_row(known, None)[0] == "unknown"
    assert judge_row(known, dataclasses.replace(COOL, battery_percent=None))[0] == "unknown"


def test_a_row_with_facts_is_judged_by_them_alone():
    kept = evidence_of(REAL, GALAXY, "R5CT1")
    assert judge_row(row(evidence=kept, device_class="unknown"), None)[0] == "phone"
    assert judge_row(row(evidence=kept | {"files": "/.dockerenv"}), COOL)[0] == "emulator"
    assert judge_row(row(evidence={}), COOL)[0] == "unknown"
