"""How downloads reach the network: mirror, token, proxy and certificates, from the environment.

The names are those that the hub's own client reads, so that what works there works here. A token
goes to the hub, or the mirror that stands for it, and nowhere else. Standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from exporter import __version__
from exporter.errors import RequestError
from exporter.printable import printable

HUB = "https://huggingface.co"
TIMEOUT_S = 30.0
_DAY_S = 86_400.0
_YES = frozenset({"1", "ON", "YES", "TRUE"})
_PASSWORD = "wants a name and a password (407): HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Network:
    """The way to published files.

    Attributes:
        endpoint: address of the hub or of its mirror, without a slash at its end.
        token: for the endpoint alone; empty for none.
        certificates: a file or folder of certificates to trust instead of the system's; empty for
            the system's, which SSL_CERT_FILE and SSL_CERT_DIR name.
        timeout_s: without a byte.
    """

    endpoint: str = HUB
    token: str = ""
    certificates: str = ""
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(
        cls, environment: Mapping[str, str], wanted: str = "the file", remedy: str = "pass a file"
    ) -> Network:
        """Read HF_ENDPOINT, HF_TOKEN, HF_HOME, REQUESTS_CA_BUNDLE and their like.

        Args:
            environment: names and values.
            wanted: what is to be downloaded, for the error that nothing may be.
            remedy: what to do instead, for the same.

        Raises:
            RequestError: a setting cannot be what it is, or forbids downloads.
        """
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            if environment.get(name, "").upper() in _YES:
                raise RequestError(
                    f"{name} is set and {wanted} is not in the cache: unset it to download, or "
                    f"{remedy}"
                )
        return cls(
            _endpoint(environment.get("HF_ENDPOINT", "")),
            _token(environment),
            _certificates(environment),
            _timeout(environment.get("HF_HUB_DOWNLOAD_TIMEOUT", "")),
        )

    def address(self, url: str) -> str:
        """Spell where a published file is fetched: at the mirror, if it is one of the hub."""
        inside = url.startswith(f"{HUB}/")
        return f"{self.endpoint}{url.removeprefix(HUB)}" if inside else url

    def is_endpoint(self, url: str) -> bool:
        """Tell whether an address is the endpoint's own: same scheme, host and port."""
        return _origin(url) == _origin(self.endpoint)

    def open(self, url: str, headers: Mapping[str, str]) -> Any:
        """Ask for a file.

        Raises:
            urllib.error.URLError: no answer, or one that is an error.
            OSError, http.client.HTTPException, ValueError: the transfer broke off.
        """
        request = urllib.request.Request(url)
        common = {"User-Agent": f"sam-export/{__version__}", "Accept-Encoding": "identity"}
        for name, value in (common | dict(headers)).items():
            request.add_header(name, value)
        self.authorize(request)
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(proxies()),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=self._context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(self),
        ):
            opener.add_handler(handler)
        return opener.open(request, timeout=self.timeout_s)

    def authorize(self, request: urllib.request.Request) -> None:
        """Add the token if it is for this address; urllib does not carry it to another."""
        if self.token and self.is_endpoint(request.full_url):
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")

    def _context(self) -> ssl.SSLContext:
        if not self.certificates:
            return ssl.create_default_context()
        path = Path(self.certificates)
        try:
            if path.is_dir():
                return ssl.create_default_context(capath=str(path))
            return ssl.create_default_context(cafile=str(path))
        except OSError as error:
            reason = error.strerror or "no certificates"
            raise RequestError(
                f"cannot read the certificates in {printable(str(path))} ({reason}): see "
                f"{' and '.join(_BUNDLES)}"
            ) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) only, and never from https to http."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        schemes = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(newurl).scheme not in schemes:
            raise urllib.error.HTTPError(newurl, code, "redirected away from http(s)", headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            self.network.authorize(new)
        return new


def proxies() -> dict[str, str]:
    """Proxies by scheme: HTTP_PROXY, HTTPS_PROXY, else ALL_PROXY; urllib heeds NO_PROXY.

    Raises:
        RequestError: one that urllib cannot speak to, or that is no address.
    """
    found = urllib.request.getproxies()
    for scheme in ("http", "https"):
        proxy = found.get(scheme) or found.get("all", "")
        if proxy:
            found[scheme] = proxy
        place = proxy.removeprefix(f"{proxy.partition('://')[0]}://").rpartition("@")[2]
        if proxy and not _is_address(f"//{place}"):
            raise RequestError(
                f"{scheme.upper()}_PROXY or ALL_PROXY should be an address as http://HOST:PORT, "
                f"not '{_host(proxy)}'"
            )
        if proxy.casefold().startswith("socks"):
            raise RequestError(
                f"the proxy {_host(proxy)} is a SOCKS proxy, which downloads cannot use: name one "
                "for HTTP in HTTPS_PROXY"
            )
    return found


def cause(url: str, error: BaseException, *, token: bool = False) -> str:
    """Say in some words, with the host, why a download failed.

    Args:
        url: as it was asked for.
        error: see `Network.open`.
        token: whether one was sent.
    """
    host = _host(url)
    if isinstance(error, urllib.error.HTTPError):
        said = f"{_host(error.url or url)}: HTTP {error.code} {printable(str(error.reason), 80)}"
        return f"{said}{_of_status(error.code, url, token=token)}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"{host}: its certificate is not trusted, {printable(inner.verify_message, 120)}; if a "
            "proxy here inspects traffic, name its certificate in SSL_CERT_FILE"
        )
    if isinstance(inner, ssl.SSLError):
        return f"{host}: TLS failed, {printable(str(inner), 120)}"
    return _of_connection(url, inner)


def _of_connection(url: str, error: BaseException | str) -> str:
    host, proxy = _host(url), ""
    if not _bypasses(url):
        found = urllib.request.getproxies()
        proxy = _host(found.get(urllib.parse.urlsplit(url).scheme) or found.get("all", ""))
    if isinstance(error, TimeoutError):
        return f"{host}: timed out"
    if isinstance(error, socket.gaierror):
        return f"{proxy or host}: no such host (DNS); is there a network, or need of a proxy?"
    if "407" in str(error):
        return f"the proxy {proxy} {_PASSWORD}"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    via = f" through the proxy {proxy}" if proxy else ""
    return f"{host}{via}: {printable(str(reason), 200)}"


def is_lasting(error: BaseException) -> bool:
    """Tell whether another try would fail the same way."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500 and error.code not in (408, 416, 429)
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(inner, ssl.SSLError | socket.gaierror) or "Tunnel connection" in str(inner)


def _of_status(code: int, url: str, *, token: bool) -> str:
    page = url.partition("/resolve/")[0]
    if code in (401, 403):
        if token:
            return (
                f": the token has no access; accept the terms at {page}, or take another HF_TOKEN"
            )
        return f": private or gated; accept the terms at {page} and set HF_TOKEN"
    known = {
        404: ": it is not there (any more)",
        407: f": the proxy {_PASSWORD}",
        429: ": too many requests; wait some minutes, or set HF_TOKEN",
    }
    return known.get(code, "")


def _endpoint(text: str) -> str:
    address = text.strip().rstrip("/")
    if not address:
        return HUB
    wanted = "HF_ENDPOINT should be an address as https://HOST"
    if "@" in address:
        raise RequestError(f"{wanted}, without the login before its @: HF_TOKEN is for that")
    if not address.startswith(("http://", "https://")) or not _is_address(address):
        raise RequestError(f"{wanted}, not '{printable(address)}'")
    return address


def _is_address(text: str) -> bool:
    """Tell whether an address has a host, and a port that can be one if it has any."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urllib.parse.urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port of letters, or too large; half an IPv6 address
        return False


def _token(environment: Mapping[str, str]) -> str:
    """Find the token as the hub's client does: in the environment, else in the file it keeps."""
    if environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _YES:
        return ""
    given = environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN") or ""
    token = "".join((given or _kept_token(environment)).split())
    if not (token.isascii() and token.isprintable()):
        raise RequestError("HF_TOKEN holds characters that no token has: copy it again")
    return token


def _kept_token(environment: Mapping[str, str]) -> str:
    try:
        if named := environment.get("HF_TOKEN_PATH"):
            path = Path(named)
        elif home := environment.get("HF_HOME"):
            path = Path(home) / "token"
        elif shared := environment.get("XDG_CACHE_HOME"):
            path = Path(shared) / "huggingface" / "token"
        else:
            path = Path.home() / ".cache" / "huggingface" / "token"
        return path.read_text("utf-8")[:1000]
    except (OSError, UnicodeDecodeError, RuntimeError):  # none is kept, or there is no home
        return ""


def _certificates(environment: Mapping[str, str]) -> str:
    return next((environment[name] for name in _BUNDLES if environment.get(name)), "")


def _timeout(text: str) -> float:
    if not text:
        return TIMEOUT_S
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < _DAY_S:
            return seconds
    raise RequestError(
        f"HF_HUB_DOWNLOAD_TIMEOUT should be seconds, more than 0 and less than {_DAY_S:.0f}, not "
        f"'{printable(text)}'"
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, (parts.hostname or "").casefold(), port
    except ValueError:
        return "", "", None


def _host(url: str) -> str:
    """HOST or HOST:PORT of an address or a proxy, without a name and a password."""
    place = url.partition("://")[2] or url
    return printable(place.partition("/")[0].rpartition("@")[2], 100)


def _bypasses(url: str) -> bool:
    return bool(urllib.request.proxy_bypass(urllib.parse.urlsplit(url).netloc))
