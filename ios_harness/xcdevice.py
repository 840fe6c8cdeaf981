"""Phones of iOS 16 and older on a Mac, which devicectl does not reach: `xcrun xcdevice list`."""

from __future__ import annotations

from ios_harness.errors import ToolError
from ios_harness.program import Program, at, last_line, read_json, text_at
from ios_harness.transports import Identity

LIST_SECONDS = 30.0
_OLDEST = 17
"""The first iOS that devicectl reaches."""


def old_phones(xcrun: Program) -> tuple[tuple[Identity, str], ...]:
    """List phones and tablets that are too old for devicectl, each with why it cannot be used."""
    said = xcrun.run("xcdevice", "list", "--timeout", "5", deadline=LIST_SECONDS)
    if said.code:
        raise ToolError(f"`xcdevice list` failed: {last_line(said)}")
    data = read_json(said.out, "xcdevice list")
    found = []
    for row in data if isinstance(data, list) else []:
        if at(row, "simulator") is not False or not text_at(row, "platform").endswith("iphoneos"):
            continue
        version, _, build = text_at(row, "operatingSystemVersion").partition(" (")
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) >= _OLDEST:
            continue
        identity = Identity(
            udid=text_at(row, "identifier"),
            name=text_at(row, "name"),
            model=text_at(row, "modelName") or text_at(row, "modelCode"),
            system=f"iOS {version}",
            build=build.removesuffix(")"),
            abi=text_at(row, "architecture"),
        )
        reason = text_at(row, "error", "recoverySuggestion") or text_at(row, "error", "description")
        problem = (
            f"iOS {version} is older than devicectl reaches: use --device "
            f"pymobiledevice3:{identity.udid}{f' ({reason})' if reason else ''}"
        )
        found.append((identity, problem))
    return tuple(found)
