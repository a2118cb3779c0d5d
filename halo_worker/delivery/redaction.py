"""Masks keys, tokens and e-mail addresses in what leaves the machine. The report on disk stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from halo_worker.errors import ConfigError

MASK = "[redacted]"

# What is known by its form; then what is known by the name before it. Each is bounded, so that a megabyte of text
# costs one pass, whatever is in it.
_PATTERNS = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s\\,:\-]{0,10000}",
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{12,}",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|hf_|npm_|pypi-|dop_v1_|whsec_)[A-Za-z0-9_\-+/=]{12,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b|\bAIza[A-Za-z0-9_\-]{20,}",
    r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"(?i)\b(?:bearer|basic|digest)\s+[A-Za-z0-9._~+/=\-]{8,}",
    r"(?<=://)[^\s/@:\"']{0,200}:[^\s/@\"']{1,200}(?=@)",
    r"https://hooks\.slack\.com/[^\s\"'<>]{1,300}",
    # "password": "…", API_KEY=…, also with the quotes escaped; of quoted words all. The name is kept.
    r"(?i)(?P<keep>(?:api[_-]?key|secret|password|passwd|passphrase|token|authorization|credentials?)"
    r"\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}(?:token\s|\\{0,3}[\"'])?)"
    r"(?:(?<=\")[^\"\\]{6,400}|(?<=')[^'\\]{6,400}|[^\s\"',;&\\]{6,400})",
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
            text = pattern.sub(_masked, text)
        return text

    return mask


def _masked(match: re.Match[str]) -> str:
    return (match.groupdict().get("keep") or "") + MASK


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
    """Show where a URL leads without what may be secret in it: user, path, query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{parts.hostname or ''}{port}/" + ("…" if parts.path.strip("/") or parts.query else "")
