"""What is looked at before an acknowledgement, without a server around it."""

from __future__ import annotations

import gzip
import random
import zlib
from types import ModuleType

import pytest

from halo_receiver import ingest
from halo_receiver.decode import Undecodable

LIMIT = 3000


def inflated(body: bytes) -> bytes | str:
    try:
        return ingest.inflate(body, LIMIT)
    except (ingest.TooLarge, Undecodable) as error:
        return type(error).__name__


def packed(generator: random.Random) -> tuple[bytes, bytes]:
    """Some bytes, and the same as clients send them."""
    plain = generator.randbytes(generator.randrange(1, 200)) * generator.randrange(1, 30)
    forms = (
        lambda: gzip.compress(plain, generator.choice([0, 1, 6, 9])),
        lambda: zlib.compress(plain),
    )
    return plain, generator.choice(forms)()


@pytest.mark.parametrize("library", [zlib, ingest._zlib], ids=["zlib", "the fast one"])
def test_either_library_inflates_what_is_whole_and_nothing_else(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the fast one is missing, the other must say the same: a request that one took, the other may load."""
    monkeypatch.setattr(ingest, "_zlib", library)
    generator = random.Random(7)
    for _ in range(500):
        plain, body = packed(generator)
        assert inflated(body) == (plain if len(plain) <= LIMIT else "TooLarge")
        assert inflated(gzip.compress(plain[:9]) + gzip.compress(plain[9:90])) == plain[:90]
        assert inflated(body[: generator.randrange(1, len(body) - 8)]) in ("Undecodable", "TooLarge")
        flipped = bytearray(body)
        flipped[generator.randrange(10, len(body))] ^= 1 << generator.randrange(8)
        assert inflated(bytes(flipped)) in ("Undecodable", "TooLarge", plain)
