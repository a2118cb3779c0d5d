"""Masks keys, tokens and e-mail addresses in what leaves the machine. The report on disk stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from halo_worker.errors import ConfigError

MASK = "[redacted]"

_PATTERNS = (
    r"\b(sk|pk|rk|xox[abpors]|gh[pousr]|glpat|AKIA|ASIA|AIza)[-_]?[A-Za-z0-9_\-]{12,}",
    r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}",
    r"(?i)\b(?:api[_-]?key|secret|password|passwd|token|authorization)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{6,}",
    r"\b[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,253}\.[A-Za-z]{2,24}\b",
)


def redactor(patterns: Iterable[str], *, enabled: bool = True) -> Callable[[str], str]:
    """Return the function that masks text. Raises ConfigError on a pattern that is none."""
    if not enabled:
        return lambda text: text
    compiled = []
    for pattern in (*_PATTERNS, *patterns):
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise ConfigError(f"[redaction] pattern {pattern!r}: {error}") from None

    def mask(text: str) -> str:
        for pattern in compiled:
            text = pattern.sub(MASK, text)
        return text

    return mask


def redacted(value: Any, mask: Callable[[str], str]) -> Any:
    """Mask every string of a JSON value."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [redacted(item, mask) for item in value]
    if isinstance(value, dict):
        return {key: redacted(item, mask) for key, item in value.items()}
    return value


def masked_url(url: str) -> str:
    """Show where a URL leads without what may be secret in it: user, path beyond its first part, query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    steps = [step for step in parts.path.split("/") if step]
    return f"{parts.scheme}://{parts.hostname or ''}{port}/" + (
        f"{steps[0]}/…" if len(steps) > 1 else "…" if steps else ""
    )
