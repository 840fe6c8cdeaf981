"""Change bytes at random: flips, numbers at the edges, words of the format, cuts, repeats."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.fuzz.target import Target

_EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
_DIGITS = (
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 30,
    b"9" * 5000,
    b"4294967296",
    b"9223372036854775808",
)


class Mutator:
    """Makes inputs from a pool of inputs; the same seed makes the same ones."""

    def __init__(self, target: Target, pool: Sequence[bytes], seed: int) -> None:
        self.target, self.pool = target, list(pool)
        self.places: Sequence[int] = ()
        self.random = random.Random(seed)
        self.ways = (
            self._flip,
            self._set_number,
            self._write_digits,
            self._insert_word,
            self._insert_word,
            self._cut,
            self._double,
            self._repeat,
            self._splice,
            self._insert_bytes,
        )

    def next(self) -> bytes:
        """Make the next input."""
        data = bytearray(self.random.choice(self.pool))
        self.places = self._found_places(bytes(data))
        for _ in range(self.random.choice((1, 1, 1, 2, 4, 16))):
            self.random.choice(self.ways)(data)
        made = bytes(data[: self.target.largest])
        repair = self.target.repair
        return repair(made) if repair is not None and self.random.random() < 0.5 else made

    def keep(self, data: bytes, most: int = 500) -> None:
        """Add an input to the pool; a full one forgets any of those added before."""
        if len(self.pool) < most:
            self.pool.append(data)
        else:
            self.pool[self.random.randrange(most)] = data

    def _found_places(self, data: bytes) -> Sequence[int]:
        wanted = self.target.places is not None and self.random.random() < 0.75
        return self.target.places(data) if wanted else ()

    def _at(self, data: bytearray) -> int:
        if self.places:
            return min(self.random.choice(self.places), len(data))
        return self.random.randrange(len(data) + 1)

    def _span(self, data: bytearray) -> slice:
        start = self._at(data)
        later = [place for place in self.places if place > start][:8]
        size = self.random.choice((1, 2, 4, 8, 16, 64, 256, 4096))
        return slice(start, self.random.choice(later) if later else start + size)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)

    def _set_number(self, data: bytearray) -> None:
        width, value = self.random.choice((1, 2, 4, 8)), self.random.choice(_EDGES)
        start = self._at(data)
        order = self.random.choice(("little", "big"))
        data[start : start + width] = (value % 256**width).to_bytes(width, order)

    def _write_digits(self, data: bytearray) -> None:
        places = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
        if places:
            start = end = self.random.choice(places)
            while end < len(data) and 48 <= data[end] <= 57:
                end += 1
            data[start:end] = self.random.choice(_DIGITS)

    def _insert_word(self, data: bytearray) -> None:
        if self.target.words:
            start = self._at(data)
            data[start:start] = self.random.choice(self.target.words)

    def _insert_bytes(self, data: bytearray) -> None:
        start = self._at(data)
        data[start:start] = self.random.randbytes(self.random.randrange(1, 9))

    def _cut(self, data: bytearray) -> None:
        del data[self._span(data)]

    def _double(self, data: bytearray) -> None:
        span = self._span(data)
        data[span.stop : span.stop] = data[span]

    def _repeat(self, data: bytearray) -> None:
        span = self._span(data)
        piece = bytes(data[span])
        times = self.random.choice((10, 100, 1000, 20_000))
        if piece:
            times = min(times, self.target.largest // len(piece))
            data[span.start : span.start] = piece * times

    def _splice(self, data: bytearray) -> None:
        other = self.random.choice(self.pool)
        start = self.random.randrange(len(other) + 1)
        at = self._at(data)
        data[at:at] = other[start : start + self.random.choice((4, 16, 64, 256))]
