"""What the ways bring from elsewhere: libraries out of wheels and Debian packages."""

from __future__ import annotations

import hashlib
import http.server
import io
import lzma
import subprocess
import tarfile
import threading
import tomllib
import zipfile
from functools import partial
from pathlib import Path

import pytest

from android_harness.runtimes import RUNTIMES, needed_runtime
from android_harness.ways.capsule import debs, wheels
from exporter.errors import DownloadError

# ------------------------------------------------------------------------------------------ wheels


def test_the_pinned_wheels_are_those_that_export():
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for runtime in RUNTIMES:
        run = f"run-{runtime.target}"
        assert extras[run] == [f"{runtime.wheel.project}=={runtime.wheel.version}"]
        assert f"sam-export[export,{run}]" in extras[runtime.target]


def test_a_wheel_that_pip_cannot_get_is_named(monkeypatch, tmp_path):
    def no_pip(words, **given):
        return subprocess.CompletedProcess(words, 1, "", "ERROR: No matching distribution\n")

    monkeypatch.setattr("android_harness.ways.capsule.wheels.subprocess.run", no_pip)
    monkeypatch.setattr("android_harness.ways.capsule.wheels.installed", lambda wheel, abi: None)
    with pytest.raises(DownloadError, match=r"onnxruntime==.*No matching distribution.*put its"):
        wheels.library(needed_runtime("onnx").wheel, "arm64-v8a", tmp_path)


def test_the_library_is_taken_out_of_a_wheel(monkeypatch, tmp_path):
    monkeypatch.setattr("android_harness.ways.capsule.wheels.installed", lambda wheel, abi: None)
    wheel = needed_runtime("onnx").wheel
    path = tmp_path / f"onnxruntime-{wheel.version}-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("onnxruntime/capi/libonnxruntime.so.1.31.1", b"library")
        archive.writestr("onnxruntime/capi/other.so", b"other")
    assert wheels.library(wheel, "arm64-v8a", tmp_path) == (b"library", path.name)


# --------------------------------------------------------------------------------- Debian packages


def deb(files, links=()):
    """A package as dpkg-deb makes it."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, to in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            tar.addfile(member)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",  # an odd size: the next header is padded
        "data.tar.xz": lzma.compress(held.getvalue()),
    }
    packed = b"!<arch>\n"
    for name, content in parts.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        packed += content + b"\n" * (len(content) % 2)
    return packed


LIB = "./usr/aarch64-linux-gnu/lib"


def test_a_deb_is_unpacked_and_its_links_followed():
    content = deb(
        {f"{LIB}/libc.so.6": b"libc", f"{LIB}/libstdc++.so.6.0.30": b"cxx", "./doc/libc": b"no"},
        [(f"{LIB}/libstdc++.so.6", "libstdc++.so.6.0.30"), (f"{LIB}/libm.so.6", "gone")],
    )
    names = ("libc.so.6", "libstdc++.so.6", "libm.so.6")
    assert debs.unpack(content, names, "x.deb") == {"libc.so.6": b"libc", "libstdc++.so.6": b"cxx"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "x.deb is not a Debian package"),
        (deb({"a": b"a"})[:100], "holds no data.tar"),
        (deb({"a": b"a"})[:-20], "is cut short"),
        (deb({"a": b"a"}).replace(b"\xfd7zXZ", b"\xfd7zXY"), "data.tar.xz cannot be read"),
    ],
)
def test_a_deb_that_cannot_be_read(content, said):
    with pytest.raises(DownloadError, match=said):
        debs.unpack(content, ("a",), "x.deb")


@pytest.fixture
def mirror(tmp_path):
    """A web server with one folder."""
    folder = tmp_path / "mirror"
    (folder / "pool").mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_deb_comes_from_the_first_mirror_that_has_it_and_is_kept(mirror, tmp_path):
    folder, address = mirror
    content = deb({"a": b"a"})
    package = debs.Deb("pool/x.deb", hashlib.sha256(content).hexdigest(), "MIT")
    cache = tmp_path / "cache"
    (folder / "pool/x.deb").write_bytes(content)
    assert debs.fetch(package, cache, (f"{address}nowhere/", address)) == content
    (folder / "pool/x.deb").unlink()
    assert debs.fetch(package, cache, (address,)) == content


def test_a_deb_that_is_another_file_is_not_kept(mirror, tmp_path):
    folder, address = mirror
    (folder / "pool/x.deb").write_bytes(b"other")
    package = debs.Deb("pool/x.deb", "0" * 64, "MIT")
    with pytest.raises(DownloadError, match=r"another file.*put it at .*x\.deb"):
        debs.fetch(package, tmp_path / "cache", (address,))
    assert not (tmp_path / "cache").exists()
