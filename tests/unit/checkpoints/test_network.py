"""Mirrors, tokens, proxies and certificates: as the hub's own client takes them."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from contextlib import contextmanager

import pytest

from exporter.checkpoints import download
from exporter.checkpoints.download import fetch
from exporter.checkpoints.network import HUB, Network, cause, proxies
from exporter.errors import DownloadError, RequestError
from exporter.variants import Published

BODY = b"weights" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
ON_HUB = f"{HUB}/someone/model/resolve/main/tiny.pt"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's attributes say, and logs (method, address, headers)."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.command, self.path, dict(self.headers)))
        status, headers = server.answers.pop(0) if server.answers else (200, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(BODY)) if status == 200 else "0")
        self.end_headers()
        if status == 200:
            self.wfile.write(BODY)

    do_CONNECT = do_GET

    def log_message(self, *_args):
        pass


@contextmanager
def serving(context=None):
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = lambda *_args: None
    if context is not None:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    httpd.requests, httpd.answers = [], []
    scheme = "http" if context is None else "https"
    httpd.url = f"{scheme}://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield httpd
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """No setting of the machine's own, and no long waits."""
    for name in [*os.environ]:
        if name.upper().endswith("_PROXY") or name.startswith(("HF_", "HUGGING", "SSL_CERT")):
            monkeypatch.delenv(name)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "WAIT_S", 0.01)


@pytest.fixture
def server():
    with serving() as httpd:
        yield httpd


@pytest.fixture
def other():
    with serving() as httpd:
        yield httpd


@pytest.fixture
def get(tmp_path):
    def call(url=ON_HUB):
        path = fetch(Published("tiny.pt", url, SHA256), tmp_path / "cache", lambda *_: None)
        assert path.read_bytes() == BODY

    return call


def bearer(server):
    return [headers.get("Authorization") for _, _, headers in server.requests]


# ------------------------------------------------------------------------------ mirrors and tokens


@pytest.mark.parametrize("ending", ["", "/", "/hf", " "])
def test_a_mirror_stands_for_the_hub(monkeypatch, server, get, ending):
    monkeypatch.setenv("HF_ENDPOINT", server.url + ending)
    get()
    path = f"{ending.strip().rstrip('/')}/someone/model/resolve/main/tiny.pt"
    assert [(method, at) for method, at, _ in server.requests] == [("GET", path)]
    assert bearer(server) == [None]


def test_a_mirror_stands_for_nothing_else(monkeypatch, server, other, get):
    monkeypatch.setenv("HF_ENDPOINT", other.url)
    get(f"{server.url}/tiny.pt")
    assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    "endpoint",
    ["hub.example", "ftp://hub.example", "https://u:secret@hub.x", "http://a b/", "http://a:99999"],
)
def test_a_wrong_endpoint_is_said_without_its_password(monkeypatch, get, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(RequestError, match="HF_ENDPOINT should be an address") as caught:
        get()
    assert "secret" not in str(caught.value)


def test_a_token_goes_to_the_endpoint_alone(monkeypatch, server, other, get):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", " hf_abc\n")
    server.answers = [
        (302, {"Location": "/moved/tiny.pt"}),
        (302, {"Location": f"{other.url}/cdn/tiny.pt"}),
    ]
    get()
    assert bearer(server) == ["Bearer hf_abc", "Bearer hf_abc"]
    assert bearer(other) == [None]


def test_no_token_goes_elsewhere(monkeypatch, server, get):
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    get(f"{server.url}/tiny.pt")
    assert bearer(server) == [None]


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        ({"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": "b"}, "a"),
        ({"HUGGING_FACE_HUB_TOKEN": "b"}, "b"),
        ({"HF_TOKEN_PATH": "{folder}/kept"}, "kept"),
        ({"HF_HOME": "{folder}/hf"}, "home"),
        ({"XDG_CACHE_HOME": "{folder}"}, "shared"),
        ({"HF_TOKEN": "a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, ""),
        ({"HF_HOME": "{folder}/nowhere"}, ""),
        ({}, ""),
    ],
)
def test_the_token_is_found_where_the_hubs_client_keeps_it(tmp_path, settings, token):
    for name, text in (("kept", "kept\n"), ("hf/token", "home"), ("huggingface/token", "shared")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {name: value.format(folder=tmp_path) for name, value in settings.items()}
    assert Network.of(environment).token == token


def test_a_token_that_cannot_be_one_is_not_shown():
    with pytest.raises(RequestError, match="HF_TOKEN holds characters") as caught:
        Network.of({"HF_TOKEN": "hf_secr\x00et"})
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_asks_nobody_and_still_reads_the_cache(monkeypatch, server, get, tmp_path, name):
    monkeypatch.setenv(name, "true")
    with pytest.raises(
        RequestError, match=rf"{name} is set and tiny\.pt is not .* --checkpoint FILE"
    ):
        get(f"{server.url}/tiny.pt")
    assert server.requests == []
    (tmp_path / "cache" / "tiny.pt").write_bytes(BODY)
    get(f"{server.url}/tiny.pt")


# --------------------------------------------------------------------------------- answers and why


@pytest.mark.parametrize(
    ("status", "token", "said"),
    [
        (401, "", r"HTTP 401 .*: private or gated; accept the terms at .*/model and set HF_TOKEN"),
        (403, "hf_abc", r"HTTP 403 .*: the token has no access; .* or take another HF_TOKEN"),
        (404, "", r"HTTP 404 Not Found: it is not there"),
        (410, "", "HTTP 410"),
    ],
)
def test_a_refusal_is_final_and_says_why(monkeypatch, server, get, status, token, said):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", token)
    server.answers = [(status, {})]
    with pytest.raises(DownloadError, match=said) as caught:
        get()
    assert f"127.0.0.1:{server.server_port}" in str(caught.value)
    assert "hf_abc" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_server_that_asks_to_wait_is_waited_for(monkeypatch, server, get):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    server.answers = [(429, {"Retry-After": "7"}), (503, {}), (503, {"Retry-After": "never"})]
    get(f"{server.url}/tiny.pt")
    assert waited == [7.0, 0.02, 0.04]


def test_a_server_that_asks_to_wait_long_is_not_waited_for(server, get):
    server.answers = [(429, {"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match=r"HTTP 429 .*; it asks to wait 3600 s"):
        get(f"{server.url}/tiny.pt")


def test_an_unknown_host_is_said(monkeypatch, get):
    def unknown(*_args, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"hub.invalid: no such host \(DNS\)"):
        get("http://hub.invalid/tiny.pt")


# -------------------------------------------------------------------------- proxies, certificates


def test_a_proxy_is_asked_unless_the_host_is_excepted(monkeypatch, server, other, get, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", other.url)
    get("http://weights.invalid/tiny.pt")
    assert [at for _, at, _ in other.requests] == ["http://weights.invalid/tiny.pt"]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.example")
    (tmp_path / "cache" / "tiny.pt").unlink()
    get(f"{server.url}/tiny.pt")
    assert (len(other.requests), len(server.requests)) == (1, 1)


def test_all_proxy_is_the_last_resort(monkeypatch, other, get):
    monkeypatch.setenv("ALL_PROXY", other.url)
    get("http://weights.invalid/tiny.pt")
    assert len(other.requests) == 1


def test_a_proxy_that_wants_a_password_is_said_without_one(monkeypatch, other, get):
    address = other.url.replace("://", "://me:secret@")
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", address)
        other.answers = [(407, {})]
        with pytest.raises(DownloadError, match="wants a name and a password") as caught:
            get(f"{scheme}://weights.invalid/tiny.pt")
        assert "secret" not in str(caught.value)
    assert [method for method, _, _ in other.requests] == ["GET", "CONNECT"]
    assert all("Proxy-" + "Authorization" in headers for _, _, headers in other.requests)


def test_a_login_in_the_endpoint_is_named():
    with pytest.raises(RequestError, match="without the login before its @: HF_TOKEN is for that"):
        Network.of({"HF_ENDPOINT": "https://u:secret@hub.x"})


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:abc", "http://a b:1", "h:99999", "http://"])
def test_a_proxy_that_is_no_address_is_refused_by_its_variable(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(RequestError, match="HTTPS_PROXY or ALL_PROXY should be an address"):
        proxies()


@pytest.mark.parametrize("text", ["abc", "-1", "0", "nan", "1e400"])
def test_a_timeout_that_cannot_be_is_refused_by_its_variable(text):
    with pytest.raises(RequestError, match=f"HF_HUB_DOWNLOAD_TIMEOUT should be .* not '{text}'"):
        Network.of({"HF_HUB_DOWNLOAD_TIMEOUT": text})


def test_a_socks_proxy_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:secret@proxy:1080")
    with pytest.raises(RequestError, match="proxy:1080 is a SOCKS proxy") as caught:
        proxies()
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context) as httpd:
        yield httpd


def test_a_certificate_that_nobody_signed_is_said_once(secure, get):
    with pytest.raises(DownloadError, match=r"its certificate is not trusted, .* SSL_CERT_FILE"):
        get(f"{secure.url}/tiny.pt")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_certificates_is_trusted(monkeypatch, secure, get, certificate, name):
    monkeypatch.setenv(name, str(certificate[0]))
    get(f"{secure.url}/tiny.pt")


def test_a_bundle_of_certificates_that_is_missing_is_named(monkeypatch, secure, get):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(RequestError, match=r"certificates in /nowhere/ca.pem \(No such file"):
        get(f"{secure.url}/tiny.pt")


def test_a_token_never_goes_from_https_to_http(monkeypatch, secure, other, get, certificate):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    secure.answers = [(302, {"Location": f"{other.url}/tiny.pt"})]
    with pytest.raises(DownloadError, match="redirected away from http"):
        get(f"{secure.url}/tiny.pt")
    assert other.requests == []


def test_every_cause_is_one_printable_line():
    url = "https://me:secret@host\n.example/x"
    for error in (OSError("a\nb"), ValueError(), TimeoutError(), urllib.error.URLError("x\x1b")):
        said = cause(url, error)
        assert said.isprintable()
        assert "secret" not in said
