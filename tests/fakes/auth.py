"""Whether a host may talk to this device: RSA keys as `adb` makes and offers them."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

SHA1_PREFIX = bytes.fromhex("3021300906052b0e03021a05000414")
"""What PKCS#1 v1.5 puts before a SHA-1 digest; adb signs its 20-byte token as if it were one."""
KEY_BYTES = 256


@dataclass(frozen=True)
class PublicKey:
    """An RSA-2048 public key."""

    modulus: int
    exponent: int

    def signed(self, token: bytes, signature: bytes) -> bool:
        """Whether `signature` was made over `token` with the private half of this key."""
        block = pow(int.from_bytes(signature, "big"), self.exponent, self.modulus)
        tail = b"\x00" + SHA1_PREFIX + token
        wanted = b"\x00\x01" + b"\xff" * (KEY_BYTES - 2 - len(tail)) + tail
        return len(signature) == KEY_BYTES and block.to_bytes(KEY_BYTES, "big") == wanted


def parse_public_key(payload: bytes) -> PublicKey:
    """The key of an AUTH message: base64 of (words, n0inv, modulus, rr, exponent), then a name.

    ValueError for anything else.
    """
    raw = base64.b64decode(payload.rstrip(b"\x00").split(b" ")[0], validate=True)
    words, _inverse = struct.unpack_from("<2I", raw)
    if words * 4 != KEY_BYTES or len(raw) != 12 + 2 * KEY_BYTES:
        raise ValueError(f"a key of {words} words in {len(raw)} bytes")
    (exponent,) = struct.unpack_from("<I", raw, 8 + 2 * KEY_BYTES)
    return PublicKey(int.from_bytes(raw[8 : 8 + KEY_BYTES], "little"), exponent)
