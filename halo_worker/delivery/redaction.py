"""Masks keys, tokens and e-mail addresses in what leaves the machine. The report on disk stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from halo_receiver.store.regex import Replacements, every_script
from halo_worker.display import masked_url as masked_url
from halo_worker.errors import ConfigError, InputError

MASK = "[redacted]"

# What is known by its form; then what is known by the name before it, which is kept. RE2 reads each letter once, so
# that a megabyte of text costs one pass, whatever is in it.
_NAMES = "api[_-]?key|secret|password|passwd|passphrase|token|authorization|credentials?"
_BASE64 = r"[A-Za-z0-9+/=\s\\,:\-]*"
_RULES = tuple(
    (pattern, replacement.replace("*", MASK))
    for pattern, replacement in (
        (rf"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:{_BASE64}?-----END [A-Z ]*PRIVATE KEY-----|{_BASE64})", "*"),
        (r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{12,}", "*"),
        (r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|hf_)[A-Za-z0-9_\-+/=]{12,}", "*"),
        (r"\b(?:npm_|pypi-|dop_v1_|whsec_)[A-Za-z0-9_\-+/=]{12,}", "*"),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b|\bAIza[A-Za-z0-9_\-]{20,}", "*"),
        (r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*", "*"),
        (r"(?i)\b(?:bearer|basic|digest)\s+[A-Za-z0-9._~+/=\-]{8,}", "*"),
        (r"""(://)[^\s/?#"'<>]+@""", r"\1*@"),
        (r"""https://hooks\.slack\.com/[^\s"'<>]+""", "*"),
        # "password": "…", API_KEY=…, also with the quotes escaped; of quoted words all.
        (
            rf"""(?i)((?:{_NAMES})\\{{0,3}}["']?\s{{0,3}}[:=]\s{{0,3}})"""
            r"""(?:(\\{0,3}")[^"\\]{6,}|(\\{0,3}')[^'\\]{6,}|(token\s)?[^\s"',;&\\]{6,})""",
            r"\1\2\3\4*",
        ),
        (r"\b[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,24}\b", "*"),
    )
)


class Redactor:
    """Masks texts. Many at once cost little more than one."""

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        self._replacements = Replacements(rules) if rules else None

    def __call__(self, text: str) -> str:
        """Return one text, masked."""
        return self.all([text])[0]

    def all(self, texts: Sequence[str]) -> Sequence[str]:
        """Return texts, masked, in their order."""
        return texts if self._replacements is None else self._replacements.made(texts)


def redactor(patterns: Iterable[str], *, enabled: bool = True) -> Redactor:
    """Return what masks text. Raises ConfigError on a pattern that is none."""
    if not enabled:
        return Redactor(())
    try:
        return Redactor((*_RULES, *((every_script(pattern), MASK) for pattern in patterns)))
    except InputError as error:
        raise ConfigError(f"[redaction] {error}", hint=error.hint) from None


def redacted(value: Any, mask: Redactor) -> Any:
    """Mask every string of a JSON value."""
    texts = list(dict.fromkeys(_strings(value)))
    return _replaced(value, dict(zip(texts, mask.all(texts), strict=True)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _replaced(value: Any, masked: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return masked[value]
    if isinstance(value, list):
        return [_replaced(item, masked) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, masked) for key, item in value.items()}
    return value
