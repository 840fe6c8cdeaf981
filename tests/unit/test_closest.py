"""Which known name was meant by an unknown one."""

from __future__ import annotations

import pytest

from exporter.closest import closest, suggest, unknown
from exporter.errors import RequestError

KNOWN = ["mobile_sam", "mobilesam_v2_tiny_vit", "sam_vit_b", "sam_vit_h", "tinysam"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MobileSAM", ["mobile_sam"]),
        ("mobile-sam ", ["mobile_sam"]),
        ("SAM-ViT.B", ["sam_vit_b"]),
        ("someone/tiny-sam", ["tinysam"]),
        ("sam_vit", ["sam_vit_b", "sam_vit_h"]),
        ("tinysm", ["tinysam"]),
        ("huge", ["sam_vit_h"]),
        ("quux", []),
        ("", []),
        ("---", []),
        ("\ud800\x00", []),
        ("q" * 1_000_000, []),
    ],
)
def test_the_closest_come_first(name, meant):
    assert closest(name, KNOWN, {"huge": "sam_vit_h", "other": "not known"}) == meant


def test_an_alias_of_a_name_that_is_not_known_is_none():
    assert closest("other", KNOWN, {"other": "not known"}) == []


def test_a_short_list_is_shown_whole_and_a_long_one_is_named():
    assert suggest("x", ["a1", "b1"]) == "'x'; choose from a1, b1"
    assert suggest("x", []) == "'x'; there is none"
    many = [f"name{i}" for i in range(9)]
    assert suggest("x", many, everything="see --list") == "'x'; see --list"
    assert suggest("nmae3", many, everything="see --list").startswith("'nmae3'; did you mean name3")


def test_a_hostile_name_is_one_short_printable_line():
    error = unknown("thing", "a\n\x1b]" + "b" * 5000, KNOWN, where="file\nname")
    assert isinstance(error, RequestError)
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert str(error).startswith(r"file\nname: unknown thing 'a\n\x1b]bb")
