"""What kind of thing an Android system runs on, decided from several facts at once.

A name proves nothing: emulators borrow those of phones. So what is virtual is looked for in every
place that can give it away, and `phone` asks for a proof: the chip of a phone and a sign that it is
held in a hand. What is neither is `unknown`. The facts are kept with every result, so a later
release can decide again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from runtimes.device import EMULATOR, PHONE, SIMULATED, UNKNOWN, Condition, DeviceFacts

_IDENTITY = re.compile(r"ro\.(boot\.)?(hardware|board|product|build|soc|vendor|chip|mediatek).*")
_CHIP = re.compile(r"ro\.(boot\.hardware|hardware.*|board\.platform|soc\..*|chipname|mediatek.*)")
_VIRTUAL = re.compile(
    r"(?<![a-z])(goldfish|ranchu|sdk_g?phone|google_sdk|android sdk built|emu64|emulator|qemu"
    r"|vbox|virtualbox|vmware|parallels|virtio|crosvm|genymotion|motion_(?:phone|tablet)|redroid"
    r"|waydroid|anbox|bluestacks|nox|ldplayer|leidian|memu|microvirt|mumu|nemu|droid4x|ttvm|vmos"
    r"|cuttlefish|vsoc|cutf|trout|gce_x86|cheets|bertha|arcvm|windows_(?:x86|arm)"
    r"|subsystem for android|android_x86|cloud_?phone|vphone)(?![a-z])"
)
_TELLING = {
    "ro.kernel.qemu": re.compile(r"^1$"),
    "ro.boot.qemu": re.compile(r"^1$"),
    "ro.boot.container": re.compile(r"^1$"),
    "serial": re.compile(r"^emulator-\d+$"),
    "features": re.compile(r"chromium\.arc|type\.pc\b"),
}
_HOST_KERNEL = re.compile(
    # Its release alone: phones' kernels are built on Ubuntu too, and their version says so.
    r"microsoft|wsl|windows|postmarketos|android-x86|goldfish|ranchu|genymotion"
    r"|-(?:generic|aws|azure|gcp|oracle|kvm|linuxkit|lowlatency|raspi)$"
    r"|-\d+-(?:cloud-)?(?:amd64|arm64)$|\.(?:el|amzn|fc|oe)\d+"
)
_DESKTOP = re.compile(r"\w*(Intel|AMD|Hygon|Shanghai|Centaur)")
_SERVER = re.compile(
    # Of Arm: the Neoverse cores. Then Cavium, Fujitsu, Apple, Microsoft, Phytium, Ampere; Kunpeng.
    r"0x41:0x(d0c|d40|d49|d4a|d4f|d8e|d84|d83)\b|0x(43|46|61|6d|70|c0):|0x48:0xd01\b|0x51:0xc00\b"
)
_OTHER = re.compile(
    r"\b(tv|television|leanback|watch|automotive|car|embedded|iot|vr|m?box|mbx|stb|fire_tv)\b"
)
_PHONE_CHIP = re.compile(
    r"(?<![a-z0-9])(qualcomm|qti|qcom|snapdragon|mediatek|tensor|exynos|hisilicon|kirin|unisoc"
    r"|spreadtrum|xring|(?:msm|apq|sdm)\d{3,4}|sm\d{4}|mt[68]\d{3}|universal\d{4}|s5e\d{4}"
    r"|gs[12]01|hi3[56]\d0|ums\d{3,4}|s[pc]98\d\d|ud710|(?:lahaina|kona|taro|kalama|pineapple"
    r"|sun|canoe|lito|bengal|holi|khaje|trinket|atoll|blair|parrot|crow|cliffs|volcano|sdmmagpie"
    r"|msmnile|msmsteppe|shima|yupik|cape|diwali|ukee|zuma|zumapro|laguna"
    # Pixels call their hardware by the phone's name.
    r"|oriole|raven|bluejay|panther|cheetah|lynx|felix|shiba|husky|akita|tokay|caiman|komodo|comet"
    r"|flame|coral|sunfish|bramble|redfin|barbet|blueline|crosshatch|sargo|bonito)(?![a-z0-9]))"
)
_MAKERS = (
    "google|samsung|xiaomi|redmi|poco|oneplus|oppo|realme|vivo|iqoo|huawei|honor|motorola|sony"
    "|nokia|asus|lge?|htc|zte|nubia|meizu|nothing|fairphone|tcl|infinix|tecno|itel|lava|sharp"
    "|kyocera|fujitsu|lenovo|essential|razer|blackberry|wiko|ulefone|doogee|oukitel|blackview"
)
_RELEASE = re.compile(rf"({_MAKERS})/[^/]+/.*release-keys")
_BRIDGE = re.compile("houdini|ndk_translation")
_ARM = ("arm64-v8a", "armeabi-v7a", "armeabi")


def judge(evidence: Mapping[str, str]) -> tuple[str, str]:
    """Judge by the facts: the class of the device, and the reason in a few words."""
    if evidence.get("ro.sam_export.simulated") == "1":
        return SIMULATED, "made by the tests"
    for told in chain(_virtual(evidence), _of_the_machine(evidence)):
        return EMULATOR, told
    refused = _no_phone(evidence)
    if refused:
        return UNKNOWN, refused
    return PHONE, f"{_chip(evidence)}, {', '.join(_signs(evidence))}"


def _virtual(evidence: Mapping[str, str]) -> Iterator[str]:
    """Find what Android itself says of an emulator or a container."""
    for name, told in _TELLING.items():
        if match := told.search(evidence.get(name, "")):
            yield f"{name} says {match[0]}"
    for name, value in evidence.items():
        match = _VIRTUAL.search(value.lower()) if _IDENTITY.fullmatch(name) else None
        if match:
            yield f"{name} says {match[0]}"
    if told_by := evidence.get("property names"):
        yield f"it has the property {told_by.split()[0]}"
    bridge = _BRIDGE.search(evidence.get("ro.dalvik.vm.native.bridge", ""))
    if bridge and evidence.get("ro.product.cpu.abi") in _ARM:
        yield f"it translates Arm's instructions by {bridge[0]}"


def _of_the_machine(evidence: Mapping[str, str]) -> Iterator[str]:
    """Find what the kernel's files say of a computer or a server."""
    if _translated(evidence):
        return
    if told := evidence.get("files"):
        yield f"it has {told.split()[0]}"
    if maker := evidence.get("maker of the machine"):
        yield f"a computer by {maker}"
    processor = evidence.get("processor", "")
    # Atoms were in tablets too; one that has a hypervisor above it was not.
    if _DESKTOP.match(processor) and (processor.endswith("hypervisor") or "Atom" not in processor):
        yield f"the processor of a computer: {processor}"
    if match := _SERVER.search(processor.lower()):
        yield f"the processor of a server or a Mac: {match[0]}"
    version = evidence.get("kernel", "").lower().split()
    if match := _HOST_KERNEL.search("".join(version[2:3])):
        yield f"the kernel of a computer: {match[0].strip('-.')}"
    if re.search(r"dummy-virt|qemu", evidence.get("board", "").lower()):
        yield f"the board {evidence['board']}"


def _translated(evidence: Mapping[str, str]) -> bool:
    """Tell whether the kernel's files are of another machine than Android claims to run on.

    Then they tell nothing of it: what stands between answers from its own disk.
    """
    arm = evidence.get("ro.product.cpu.abi", "") in _ARM
    return arm and evidence.get("machine", "") in ("x86_64", "i686")


def _no_phone(evidence: Mapping[str, str]) -> str:
    """Which proof of a phone is missing; empty if none is."""
    abi = evidence.get("ro.product.cpu.abi", "")
    if abi not in _ARM:
        return f"nothing says that a system of ABI {abi or '?'} is a phone"
    kind = f"{evidence.get('ro.build.characteristics', '')} {evidence.get('features', '')}"
    if match := _OTHER.search(kind.replace("-", " ")):
        return f"a device of another kind: {match[0]}"
    if not _chip(evidence):
        return "its chip is none that is known from phones"
    if evidence.get("battery") == "absent":
        return "it has no battery"
    return "" if _signs(evidence) else "nothing says that it is held in a hand"


def _chip(evidence: Mapping[str, str]) -> str:
    told = " ".join(value for name, value in evidence.items() if _CHIP.fullmatch(name))
    match = _PHONE_CHIP.search(told.lower())
    return f"chip {match[0]}" if match else ""


def _signs(evidence: Mapping[str, str]) -> list[str]:
    """List the signs of a hand-held device."""
    features = evidence.get("features", "").split()
    numbers = evidence.get("bluetooth.device.class_of_device", "").split(",")
    names = (evidence.get(f"ro.product.{name}", "").lower() for name in ("brand", "manufacturer"))
    signs = {
        "a battery": evidence.get("battery") == "present",
        "telephony": "telephony" in features or "gsm.version.baseband" in evidence,
        "a touch screen": "touchscreen" in features,
        # The major class of the Bluetooth standard: 2 is a phone.
        "a phone's Bluetooth class": len(numbers) == 3 and numbers[1].strip() == "2",
        "its maker's release": any(
            _RELEASE.match(evidence.get(name, "").lower()) is not None
            for name in ("ro.build.fingerprint", "ro.vendor.build.fingerprint")
        ),
        # Worth something only if Android answered neither of the better questions.
        "its maker's name": not {"battery", "features"} & evidence.keys()
        and any(re.fullmatch(_MAKERS, name) for name in names),
    }
    return [sign for sign, there in signs.items() if there]


def judge_row(facts: DeviceFacts, condition: Condition | None) -> tuple[str, str]:
    """Judge the facts in a stored row: the class of the device, and the reason.

    A row of an earlier release has no evidence, only what it showed: that is enough to tell an
    emulator by its name, and a phone by its chip, its maker's release and a battery. All else that
    called itself a phone is `unknown`; the other classes were told by the device, and stay.

    Args:
        facts: of the row.
        condition: the device before its first repeat; None if it has none.
    """
    if facts.evidence is not None:
        return judge(facts.evidence)
    if facts.device_class not in (PHONE, UNKNOWN):
        return facts.device_class, "as the device said then"
    charged = condition is not None and condition.battery_percent is not None
    shown = {
        "serial": facts.device.partition(":")[2],
        "ro.product.manufacturer": facts.manufacturer,
        "ro.product.model": facts.model,
        "ro.soc.model": facts.soc,
        "ro.build.fingerprint": facts.build,
        "ro.product.cpu.abi": facts.abi,
        "battery": "present" if charged else "",
    }
    found, reason = judge({name: value for name, value in shown.items() if value})
    if found == PHONE and not {"a battery", "its maker's release"} <= set(_signs(shown)):
        return UNKNOWN, "the facts in this row prove no phone: measure again"
    return found, reason
