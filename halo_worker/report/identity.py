"""What makes two findings one issue: the signature, compared without what changes from day to day."""

from __future__ import annotations

import functools
import hashlib
import re

SIMILAR = 0.8  # share of tokens (Jaccard) from which two signatures are one failure mode
MIN_TOKENS = 4  # of a signature, below which only the very same one is the same

_MASKED = re.compile(r"<[a-z_]+>|[0-9a-f]{8,}|\d+")
_TOKEN = re.compile(r"[a-z_]{2,}")


def mask(key: str) -> str:
    """Write a signature without what changes from day to day: ids, numbers, case, spacing."""
    return " ".join(_MASKED.sub("#", key.lower()).split())


@functools.lru_cache(maxsize=65_536)
def tokens(key: str) -> tuple[str, ...]:
    """Return the words of a signature, in order."""
    return tuple(_TOKEN.findall(mask(key)))


def alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Say whether two signatures, as tokens, are one failure mode: they begin alike and share most of their words."""
    mine, theirs = set(one), set(other)
    if min(len(mine), len(theirs)) < MIN_TOKENS or one[0] != other[0]:
        return False
    return len(mine & theirs) >= SIMILAR * len(mine | theirs)


def fingerprint(category: str, detector: str, key: str) -> str:
    """Return the issue id of a failure mode."""
    text = "\x1f".join((category.lower(), detector.lower(), mask(key)))
    return f"HALO-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
