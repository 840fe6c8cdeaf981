"""The line that closes an export."""

from __future__ import annotations

from dataclasses import replace

from exporter.bundle.folder import Bundle
from exporter.summary import summary
from tests.unit import video_bundle
from tests.unit.tiny_bundle import build


def test_a_later_ios_than_was_asked_for_is_said(tmp_path) -> None:
    made = build(tmp_path / "tiny")
    assert "iOS" not in summary(Bundle(tmp_path / "tiny", made))
    raised = replace(made, platform="iOS 18 or later")
    assert ": iOS 18 or later; image_encoder" in summary(Bundle(tmp_path / "tiny", raised))


def test_fewer_slots_than_published_are_said(tmp_path) -> None:
    made = video_bundle.build(tmp_path / "video")
    words = "2 memory slots where the published code has 7"
    fewer = replace(made.manifest, video=replace(video_bundle.RULE, departure=words))
    assert summary(Bundle(made.path, fewer)) == f"{summary(made)}; {words}"
