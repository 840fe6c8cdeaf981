"""The ranges that a manifest's values are held to when it is read; none of them costs memory."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MOST_SIDE = 16_384
MOST_SLOTS = 4096
MOST_ELEMENTS = 2**28
"""Numbers of one tensor: a gigabyte of float32."""

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=_PRINTABLE)]
"""A name: of a tensor, a graph, a tool."""
Text = Annotated[str, Meta(max_length=4096, pattern=_PRINTABLE)]
"""A line of text; it may be empty."""
FileName = Annotated[str, Meta(min_length=1, max_length=1024, pattern=_PRINTABLE)]
"""A path inside the bundle."""
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
MaybeSha256 = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
Layout = Annotated[str, Meta(pattern="^([A-Z][A-Z0-9]{0,7}|RGB image)$")]

Side = Annotated[int, Meta(ge=1, le=MOST_SIDE)]
"""In pixels or cells."""
Dimension = Annotated[int, Meta(ge=1, le=MOST_ELEMENTS)]
Shape = Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=8)]
Slots = Annotated[int, Meta(ge=1, le=MOST_SLOTS)]
Batch = Annotated[int, Meta(ge=1, le=MOST_SLOTS)]
Token = Annotated[int, Meta(ge=0, le=255)]
TokenOrNone = Annotated[int, Meta(ge=-1, le=255)]
Label = Annotated[int, Meta(ge=-16, le=16)]
Channel = Annotated[int, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
OneOrMore = Annotated[int, Meta(ge=1, le=2**62)]

Number = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""Finite."""
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Byte = Annotated[float, Meta(ge=0, le=255)]
