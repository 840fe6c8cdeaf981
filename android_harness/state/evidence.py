"""The facts that tell on what an Android system runs: asked in one trip, kept with every result."""

from __future__ import annotations

import re
from collections.abc import Mapping

from android_harness.state import battery
from exporter.printable import printable

PARTS = {
    "version": "cat /proc/version",
    "machine": "uname -m",
    "processor": "head -n 150 /proc/cpuinfo",
    "maker of the machine": "cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name",
    "board": "tr '\\0' ' ' < /proc/device-tree/model",
    "files": "ls -d /.dockerenv /run/.containerenv /dev/vboxguest /dev/vboxuser /dev/qemu_pipe "
    "/dev/goldfish_pipe /dev/socket/qemud /dev/socket/genyd /dev/socket/baseband_genyd "
    "/mnt/windows /data/.bluestacks.prop /system/bin/ldinit /system/bin/microvirtd "
    "/system/bin/nox-prop",
    "features": "pm list features",
    "battery": battery.SCRIPT,
}
_NAMES = ("brand", "manufacturer", "model", "device", "name", "board")
_PROPERTIES = (
    *("ro.sam_export.simulated", "ro.kernel.qemu", "ro.boot.qemu", "ro.boot.container"),
    *("ro.hardware", "ro.boot.hardware", "ro.board.platform", "ro.hardware.chipname"),
    *("ro.soc.manufacturer", "ro.soc.model", "ro.chipname", "ro.mediatek.platform"),
    *(f"ro.product.{name}" for name in _NAMES),
    *(f"ro.product.vendor.{name}" for name in _NAMES),
    *("ro.build.characteristics", "ro.build.fingerprint", "ro.build.flavor", "ro.build.product"),
    *("ro.vendor.build.fingerprint", "ro.product.cpu.abi", "ro.dalvik.vm.native.bridge"),
    *("gsm.version.baseband", "bluetooth.device.class_of_device"),
)
_VIRTUAL_NAME = re.compile(
    r"(?<![a-z])(genymotion|genyd|waydroid|redroid|anbox|bluestacks|noxd?|ldinit|ldplayer"
    r"|microvirtd?|memud?|nemud?|mumu|cuttlefish|qemud|vboxservice)(?![a-z])"
    r"|^(ro\.arc|bst|ro\.bst|ro\.boot\.qemu|init\.svc\.(goldfish|ranchu|qemu))[.-]"
)
_FEATURES = re.compile(
    r"^feature:(?:android\.hardware\.|android\.software\.|amazon\.hardware\.|org\.)"
    r"(touchscreen|telephony|type\.\w+|vr\.headtracking|leanback|fire_tv|chromium\.arc)$",
    re.MULTILINE,
)


def evidence_of(
    answers: Mapping[str, str], props: Mapping[str, str], serial: str
) -> dict[str, str]:
    """Collect the facts that `device_class.judge` decides by, as short texts; no empty ones.

    Args:
        answers: to PARTS.
        props: of getprop.
        serial: adb's name for the device.
    """
    telling = [name for name in props if _VIRTUAL_NAME.search(name.lower()) and props[name]]
    dump = answers.get("battery", "")
    present = re.search(r"^\s*present: (true|false)", dump, re.MULTILINE)
    found = {name: props.get(name, "") for name in _PROPERTIES} | {
        "serial": serial,
        "property names": " ".join(telling[:4]),
        "kernel": answers.get("version", ""),
        "machine": answers.get("machine", ""),
        "processor": _processor(answers.get("processor", "")),
        "maker of the machine": " ".join(answers.get("maker of the machine", "").split()),
        "board": answers.get("board", ""),
        "files": " ".join(answers.get("files", "").split()),
        "features": " ".join(m[1] for m in _FEATURES.finditer(answers.get("features", ""))),
        "battery": {"true": "present", "false": "absent"}[present[1]] if present else "",
    }
    return {name: printable(value.strip()) for name, value in found.items() if value.strip()}


def _processor(text: str) -> str:
    """Arm's numbers of maker and part, or an x86's own words, of /proc/cpuinfo."""
    pairs = [line.partition(":")[::2] for line in text.splitlines()]
    told = [(name.strip().lower(), value.strip()) for name, value in pairs]
    of = dict(reversed(told))
    makers = [value for name, value in told if name == "cpu implementer"]
    parts = [value for name, value in told if name == "cpu part"]
    # A file that is cut short lists a maker more than parts.
    arm = {f"{maker}:{part}" for maker, part in zip(makers, parts, strict=False)}
    guest = "hypervisor" if "hypervisor" in of.get("flags", "").split() else ""
    words = (of.get("vendor_id", ""), of.get("model name", "") if not arm else "", guest)
    return " ".join((*sorted(arm), *filter(None, words)))
