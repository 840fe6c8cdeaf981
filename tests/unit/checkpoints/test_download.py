from __future__ import annotations

import errno
import hashlib
import http.server
import os
import re
import threading
import time
from pathlib import Path

import pytest

from exporter.cache import default_cache
from exporter.checkpoints import download
from exporter.checkpoints.download import fetch
from exporter.errors import DownloadError, RequestError
from exporter.variants import Published

BODY = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY with Range; the server's attributes say what goes wrong, and log requests."""

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if server.status != 200:
            self.send_error(server.status)
            return
        start = self.start()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", server.etag)
        self.end_headers()
        stop = len(BODY)
        if server.cut:
            stop = server.cut.pop(0)
        self.wfile.write(server.body[start:stop])

    def start(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range", self.server.etag) == self.server.etag
        return int(asked[1]) if asked and self.server.ranges and unchanged else 0

    def log_message(self, *_args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in [*os.environ]:
        if name.upper().endswith("_PROXY") or name.startswith("HF_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(download, "WAIT_S", 0.01)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = silent  # a client that hangs up is no error here
    httpd.requests, httpd.cut, httpd.body, httpd.etag = [], [], BODY, '"v1"'
    httpd.status, httpd.ranges, httpd.redirect = 200, True, ""
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/weights/tiny.pt"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def silent(_done, _total):
    pass


def published(server, sha256=SHA256):
    return Published("tiny.pt", server.url, sha256)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_a_file_arrives_whole_and_is_then_taken_from_the_cache(server, tmp_path):
    seen = []
    path = fetch(
        published(server), tmp_path / "new", lambda done, total: seen.append((done, total))
    )
    assert path == tmp_path / "new" / "tiny.pt"
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert left(path.parent) == ["tiny.pt"]
    assert fetch(published(server), tmp_path / "new", silent) == path
    assert len(server.requests) == 1


def test_leading_digits_are_enough(server, tmp_path):
    path = fetch(published(server, SHA256[:6]), tmp_path, silent)
    server.status = 500
    assert fetch(published(server, SHA256[:6]), tmp_path, silent) == path


def test_a_wrong_digest_removes_the_file_and_names_both(server, tmp_path):
    with pytest.raises(DownloadError, match=f"sha256 is {SHA256}, published is {'0' * 64}"):
        fetch(published(server, "0" * 64), tmp_path, silent)
    assert left(tmp_path) == []


def test_a_cached_file_with_a_wrong_digest_is_fetched_anew(server, tmp_path):
    (tmp_path / "tiny.pt").write_bytes(b"something else")
    assert fetch(published(server), tmp_path, silent).read_bytes() == BODY


def test_without_a_published_digest_the_first_one_counts(server, tmp_path):
    path = fetch(published(server, ""), tmp_path, silent)
    assert (tmp_path / "tiny.pt.sha256").read_text() == f"{SHA256}  tiny.pt\n"
    assert fetch(published(server, ""), tmp_path, silent) == path
    path.write_bytes(b"changed")
    with pytest.raises(DownloadError, match=f"but had {SHA256} when it was first seen"):
        fetch(published(server, ""), tmp_path, silent)


def test_a_file_put_there_by_hand_is_used(server, tmp_path):
    (tmp_path / "tiny.pt").write_bytes(BODY)
    fetch(published(server, ""), tmp_path, silent)
    assert (tmp_path / "tiny.pt.sha256").read_text().startswith(SHA256)
    assert server.requests == []


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path, sha256):
    server.cut = [1_500_000]
    assert fetch(published(server, sha256), tmp_path, silent).read_bytes() == BODY
    assert [r.get("Range") for r in server.requests] == [None, "bytes=1500000-"]
    assert server.requests[1]["If-Range"] == '"v1"'


def test_a_later_call_goes_on_too(server, tmp_path):
    server.cut = [1_000_000, *[2_000_000] * download.ATTEMPTS]
    with pytest.raises(DownloadError, match=f"2000000 of {len(BODY)} bytes arrived"):
        fetch(published(server), tmp_path, silent)
    assert left(tmp_path) == ["tiny.pt.partial", "tiny.pt.partial.etag"]
    assert fetch(published(server), tmp_path, silent).read_bytes() == BODY
    assert server.requests[-1]["Range"] == "bytes=2000000-"
    assert left(tmp_path) == ["tiny.pt"]


def test_parts_of_two_versions_are_not_joined(server, tmp_path):
    server.cut, server.body = [1_000_000, *[1_500_000] * 5], b"\0" * len(BODY)
    with pytest.raises(DownloadError):
        fetch(published(server, ""), tmp_path, silent)
    server.etag, server.body = '"v2"', BODY
    assert fetch(published(server, ""), tmp_path, silent).read_bytes() == BODY


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cut = False, [1_000_000]
    assert fetch(published(server), tmp_path, silent).read_bytes() == BODY


def test_an_unusable_partial_is_dropped(server, tmp_path, monkeypatch):
    (tmp_path / "tiny.pt.partial").write_bytes(BODY + b"more")

    def status(handler):
        return 416 if "Range" in handler.headers else 200

    monkeypatch.setattr(Handler, "do_GET", _with_status(Handler.do_GET, status))
    assert fetch(published(server), tmp_path, silent).read_bytes() == BODY


def _with_status(do_get, status):
    def wrapped(handler):
        handler.server.status = status(handler)
        do_get(handler)

    return wrapped


def test_not_found_is_not_tried_twice(server, tmp_path):
    server.status = 404
    with pytest.raises(DownloadError, match="HTTP 404 Not Found") as caught:
        fetch(published(server), tmp_path, silent)
    assert len(server.requests) == 1
    message = str(caught.value)
    assert server.url in message
    assert "pass --checkpoint tiny.pt" in message
    assert f"put it at {tmp_path / 'tiny.pt'}" in message
    assert "\n" not in message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_failing_server_is_tried_again(server, tmp_path, status):
    server.status, said = status, []
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        fetch(published(server), tmp_path, silent, waiting=said.append)
    assert len(server.requests) == download.ATTEMPTS
    assert len(said) == download.ATTEMPTS - 1
    assert all(re.search(rf"HTTP {status} .*; trying again in \d+ s", line) for line in said)


def test_without_a_network_the_message_says_what_to_do(server, tmp_path):
    closed = Published("tiny.pt", "http://127.0.0.1:1/tiny.pt", SHA256)
    with pytest.raises(DownloadError, match=r"Connection refused.*fetch it yourself"):
        fetch(closed, tmp_path, silent)


def test_a_silent_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")
    monkeypatch.setattr(Handler, "do_GET", lambda _handler: threading.Event().wait(1.0))
    with pytest.raises(DownloadError, match="timed out"):
        fetch(published(server), tmp_path, silent)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://host/tiny.pt", "tiny.pt"])
def test_only_http_addresses(tmp_path, url):
    with pytest.raises(RequestError, match="pass --checkpoint"):
        fetch(Published("tiny.pt", url, SHA256), tmp_path, silent)


def test_redirects_stay_on_http(server, tmp_path):
    server.redirect = "file:///etc/passwd"
    with pytest.raises(DownloadError):
        fetch(published(server), tmp_path, silent)
    assert left(tmp_path) == []


def test_a_full_disk_keeps_what_arrived(server, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(DownloadError, match="the disk is full; what has arrived is kept"):
        fetch(published(server), tmp_path, silent)
    assert (tmp_path / "tiny.pt.partial").stat().st_size == len(BODY)


@pytest.mark.parametrize("place", ["/dev/null", "/proc/x", "{here}/file/x", "{here}/" + "x" * 300])
def test_a_cache_that_cannot_be_is_a_request_error(server, tmp_path, place):
    (tmp_path / "file").touch()
    folder = Path(place.format(here=tmp_path))
    with pytest.raises(RequestError, match=r"cannot keep downloads in .* set SAM_EXPORT_CACHE"):
        fetch(published(server), folder, silent)
    assert server.requests == []


def test_an_endless_body_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 2_000_000)
    with pytest.raises(DownloadError, match="grew past 2000000 bytes"):
        fetch(published(server), tmp_path, silent)


def test_processes_that_want_the_same_file_download_it_once(server, tmp_path):
    told, arrived = [], []

    def get():
        said = told.append if threading.current_thread().name == "second" else silent_line
        arrived.append(fetch(published(server), tmp_path, slow, waiting=said))

    def slow(_done, _total):
        if not started.is_set():
            started.set()
            time.sleep(0.5)

    def silent_line(line):
        pass

    started = threading.Event()
    first, second = threading.Thread(target=get), threading.Thread(target=get, name="second")
    first.start()
    assert started.wait(20)
    second.start()
    for thread in (first, second):
        thread.join(30)
    assert arrived == [tmp_path / "tiny.pt"] * 2
    assert len(server.requests) == 1
    [line] = told
    assert line.startswith(f"tiny.pt is being downloaded by process {os.getpid()} on ")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.pt"]


def test_where_the_cache_is():
    assert default_cache({"SAM_EXPORT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert default_cache({"XDG_CACHE_HOME": "/b"}) == Path("/b/sam-export")
    assert default_cache({}) == Path.home() / ".cache" / "sam-export"
