"""Why the runner ended, by what the system wrote of it."""

from __future__ import annotations

import json

import pytest

from exporter.errors import RunnerError
from ios_harness.crashes import ending, is_ours
from ios_harness.errors import CrashError, MemoryLimitError

HEAD = {"app_name": "SamRunner", "bug_type": "309"}
BODY = {
    "exception": {"type": "EXC_BAD_ACCESS", "signal": "SIGSEGV"},
    "termination": {"namespace": "SIGNAL", "code": 11, "indicator": "Segmentation fault: 11"},
}
JETSAM = {
    "processes": [
        {"name": "other", "reason": "vnode-limit"},
        {"name": "SamRunner", "reason": "highwater"},
    ]
}


def log(tmp_path, name, *texts):
    path = tmp_path / name
    path.write_text("\n".join(t if isinstance(t, str) else json.dumps(t) for t in texts))
    return path


def test_a_crash_is_told_with_its_log(tmp_path):
    path = log(tmp_path, "SamRunner-1.ips", HEAD, BODY)
    error = ending([path], "loading image_encoder")
    assert type(error) is CrashError
    assert str(error) == (
        "the runner crashed (EXC_BAD_ACCESS, SIGSEGV, Segmentation fault: 11) during loading "
        f"image_encoder: its log is {path}"
    )


def test_an_end_for_memory(tmp_path):
    error = ending([log(tmp_path, "JetsamEvent-1.ips", {}, JETSAM)], "")
    assert type(error) is MemoryLimitError
    assert "(highwater): its log is" in str(error)


def test_memory_of_another_process_is_not_ours(tmp_path):
    other = {"processes": [{"name": "SamRunner"}, {"name": "other", "reason": "highwater"}]}
    error = ending([log(tmp_path, "JetsamEvent-1.ips", {}, other)], "")
    assert type(error) is RunnerError
    assert "has no crash log of it" in str(error)


@pytest.mark.parametrize("texts", [("",), ("{", "{"), ("[]", "3"), ("{}", '{"exception": 3}')])
def test_a_log_that_is_garbled_is_still_named(tmp_path, texts):
    path = log(tmp_path, "SamRunner-1.ips", *texts)
    error = ending([path], "")
    assert isinstance(error, CrashError)
    assert "(no reason told)" in str(error)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("SamRunner-2026-11-30-031500.ips", True),
        ("JetsamEvent-2026-11-30-031500.ips", True),
        ("SamRunner2-2026.ips", False),
        ("SamRunner-2026.txt", False),
        ("Mail-2026.ips", False),
    ],
)
def test_which_logs_are_looked_at(name, ours):
    assert is_ours(name) is ours
