"""Sign a bundle and verify it with Ed25519: a signature of the manifest, which covers the files.

`manifest.sig` beside the manifest is the signature in base64. It covers the manifest's bytes with
LF line ends, so that git may turn them into CRLF. Only this file needs the package `cryptography`.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.closest import missing
from exporter.errors import BundleError, RequestError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE = "manifest.sig"
_LENGTH = 64
_MOST_KEY = 64 * 1024
_OTHERS = 0o077
_SSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_MAKE = "make one with: openssl genpkey -algorithm ed25519 -out KEY"


@dataclass(frozen=True)
class Signer:
    """A private key. Its `repr` shows the path alone."""

    path: Path
    _key: Ed25519PrivateKey

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Load an Ed25519 private key, PEM or OpenSSH.

        Raises:
            RequestError: the package is missing; or the file is missing, readable by others,
                encrypted, or no such key.
        """
        keys = _package("--sign")
        content = _read_key(path)
        if b"PRIVATE KEY-----" not in content:
            what = "a public key" if _is_public(content) else "no private key, PEM or OpenSSH"
            raise RequestError(f"--sign: {path} is {what}; {_MAKE}")
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise RequestError(f"others can read the private key {path}: chmod 600 {path}")
        load = keys.load_ssh_private_key if _SSH in content else keys.load_pem_private_key
        key = _loaded(load, path, content, None)
        return cls(path, _ed25519(key, "Ed25519PrivateKey", path))

    def raw(self, manifest: bytes) -> bytes:
        """Sign. Ed25519 gives one signature of each message."""
        return self._key.sign(_signed(manifest))

    def sign(self, manifest: bytes) -> bytes:
        """Make the content of `manifest.sig`."""
        return base64.b64encode(self.raw(manifest)) + b"\n"

    def __repr__(self) -> str:
        return f"Signer({str(self.path)!r})"


@dataclass(frozen=True)
class Verifier:
    """A public key."""

    path: Path
    _key: Ed25519PublicKey

    @classmethod
    def load(cls, path: Path) -> Verifier:
        """Load an Ed25519 public key, PEM or OpenSSH.

        Raises:
            RequestError: the package or the file is missing, or it is no such key.
        """
        keys = _package("--verify-key")
        content = _read_key(path)
        if b"PRIVATE KEY-----" in content:
            raise RequestError(
                f"{path} is a private key; --verify-key takes the public one: "
                f"openssl pkey -in {path} -pubout, or ssh-keygen -y -f {path}"
            )
        if not _is_public(content):
            raise RequestError(f"--verify-key: {path} is no public key, PEM or OpenSSH")
        ssh = content.lstrip().startswith(b"ssh-")
        load = keys.load_ssh_public_key if ssh else keys.load_pem_public_key
        return cls(path, _ed25519(_loaded(load, path, content), "Ed25519PublicKey", path))

    def check(self, folder: Path, manifest: bytes) -> None:
        """Check the signature of a bundle.

        Args:
            folder: of the bundle, which holds the signature.
            manifest: the manifest's bytes, as they will be read.

        Raises:
            BundleError: there is no signature, or it is not this key's of these bytes.
        """
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(read_signature(folder), _signed(manifest))
        except InvalidSignature:
            raise BundleError(
                f"{folder}: {SIGNATURE} is not a signature of this manifest by {self.path}: "
                "another key made it, or the manifest was changed; do not use the bundle"
            ) from None


def read_signature(folder: Path) -> bytes:
    """Read a bundle's signature, raw. BundleError if there is none, or it is no signature."""
    path = folder / SIGNATURE
    if not path.is_file():
        raise BundleError(f"{folder} is not signed: it has no {SIGNATURE}; export it with --sign")
    try:
        with path.open("rb") as stream:
            signature = base64.b64decode(stream.read(_MOST_KEY).strip(), validate=True)
    except (OSError, binascii.Error, ValueError):
        signature = b""
    if len(signature) != _LENGTH:
        raise BundleError(f"{path} is no Ed25519 signature in base64; export the bundle again")
    return signature


def _signed(manifest: bytes) -> bytes:
    return manifest.replace(b"\r\n", b"\n")


def _package(option: str) -> Any:
    try:
        return importlib.import_module("cryptography.hazmat.primitives.serialization")
    except ImportError:
        raise RequestError(f"{option} needs cryptography: pip install 'sam-export[sign]'") from None


def _read_key(path: Path) -> bytes:
    try:
        if not path.is_file():
            said = missing(path)
            if path.exists():
                said = "a folder, not a key" if path.is_dir() else "no plain file, so no key"
            raise RequestError(f"the key {path} is {said}")
        with path.open("rb") as stream:
            return stream.read(_MOST_KEY)
    except OSError as error:
        raise RequestError(f"the key {path} cannot be read: {error.strerror}") from None


def _is_public(content: bytes) -> bool:
    return b"-----BEGIN PUBLIC KEY-----" in content or content.lstrip().startswith(b"ssh-")


def _loaded(load: Any, path: Path, *content: bytes | None) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(*content)
    except TypeError:  # a passphrase is needed
        raise _encrypted(path) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise _encrypted(path) from None
        raise RequestError(f"{path} holds no key that can be read; {_MAKE}") from None


def _encrypted(path: Path) -> RequestError:
    return RequestError(
        f"the key {path} is encrypted; --sign asks for no passphrase: give a key without one "
        f"(openssl pkey -in {path} -out KEY, or ssh-keygen -p -f a copy)"
    )


def _ed25519(key: Any, kind: str, path: Path) -> Any:
    module = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    if not isinstance(key, getattr(module, kind)):
        name = type(key).__name__.strip("_").removesuffix("PrivateKey").removesuffix("PublicKey")
        raise RequestError(f"{path} is a key of {name}; signatures are Ed25519: {_MAKE}")
    return key
