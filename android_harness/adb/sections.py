"""Many questions in one trip to a device: a script whose answers come back in named sections."""

from __future__ import annotations

from collections.abc import Mapping

_MARK = "@@sam-export "


def script(parts: Mapping[str, str]) -> str:
    """Shell text that runs every part; a part that fails harms no other."""
    return "\n".join(
        f"echo '{_MARK}{name}'\n( {part}\n) 2>/dev/null\necho" for name, part in parts.items()
    )


def split(text: str) -> dict[str, str]:
    """Split the output of such a script: name -> what that part printed, stripped."""
    found = {}
    for block in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, body = block.partition("\n")
        found[name.strip()] = body.strip()
    return found
