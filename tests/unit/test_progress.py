"""Long work shows from time to time that it goes on; short work shows nothing."""

from __future__ import annotations

import threading

from exporter.progress import heartbeat


def test_long_work_is_seen_to_go_on():
    lines, seen = [], threading.Event()

    def report(line):
        lines.append(line)
        seen.set()

    with heartbeat(report, "checking", every=0.01):
        assert seen.wait(10)
    count = len(lines)
    assert lines[0].startswith("checking: ")
    assert lines[0].endswith(" s so far")
    seen.clear()
    assert not seen.wait(0.1)
    assert len(lines) == count


def test_short_work_shows_nothing():
    lines = []
    with heartbeat(lines.append, "checking"):
        pass
    assert lines == []
