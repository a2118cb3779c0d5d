"""Counts and ids that a model writes into its texts, held against what was computed.

The rule: a number of traces, spans, runs or sessions, or a percentage, may stand in a text when it was computed: when
it is the finding's own count or rate, when a tool returned it in this run, when it is the share of one such number of
the text in another, or when it is part of a quote that was found. What is none of these is taken out and said to be
missing; so is an id that the window does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

UNVERIFIED = "[number not verified]"
MAX_PAIRED = 100  # numbers of one text that are tried as shares of each other

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_UNITS = r"(?:distinct |unique |affected |failing |failed |of the )?(?:traces?|spans?|runs?|sessions?|conversations?)"
_COUNT = re.compile(
    rf"(?<![\w.,])(?P<n>{_NUMBER})(?P<of>\s*(?:of|out of|/)\s*(?:the\s+|all\s+)?(?P<m>{_NUMBER}))?(?=\s+{_UNITS}\b)",
    re.IGNORECASE,
)
_SHARE = re.compile(rf"(?<![\w.,])(?P<p>{_NUMBER})\s?(?:%|percent\b|per cent\b)", re.IGNORECASE)

_HEX_ID = re.compile(r"(?<![0-9A-Za-z_-])[0-9a-f]{32}(?![0-9A-Za-z_-])|(?<![0-9A-Za-z_-])[0-9a-f]{16}(?![0-9A-Za-z_-])")
_NAMED_ID = re.compile(r"\b(?:trace|span)(?:[ _-]?id)?\s*[:=]?\s*[`\"']([\w.:-]{4,80})[`\"']", re.IGNORECASE)


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def unverified(text: str, computed: Collection[float], rates: Iterable[float], quoted: str = "") -> list[str]:
    """Return the counts and percentages in a text that nothing computed stands behind, as they are written."""
    return [match.group(0) for match in _claims(text, computed, list(rates), quoted)]


def without_unverified(
    text: str, computed: Collection[float], rates: Iterable[float], quoted: str = ""
) -> tuple[str, int]:
    """Return the text with such numbers taken out, and how many there were."""
    wrong = _claims(text, computed, list(rates), quoted)
    for match in sorted(wrong, key=lambda one: -one.start()):
        text = f"{text[: match.start()]}{UNVERIFIED}{text[match.end() :]}"
    return text, len(wrong)


def _claims(text: str, computed: Collection[float], rates: list[float], quoted: str) -> list[re.Match[str]]:
    wrong = []
    # The share of one verified number of the text in another is arithmetic, not a claim.
    known = {value for text_ in re.findall(_NUMBER, text)[:MAX_PAIRED] if (value := _value(text_)) in computed}
    rates = [*rates, *(part / whole for part in known for whole in known if 0 < part <= whole)]
    for match in _COUNT.finditer(text):
        said = [match["n"], *([match["m"]] if match["m"] else [])]
        if not all(_value(one) in computed or _within(one, quoted) for one in said):
            wrong.append(match)
    wrong += [
        match
        for match in _SHARE.finditer(text)
        if not _is_rate(match["p"], computed, rates) and not _within(match["p"], quoted)
    ]
    return wrong


def _within(number: str, quoted: str) -> bool:
    return re.search(rf"(?<!\d){re.escape(number)}(?!\d)", quoted) is not None


def _is_rate(said: str, computed: Collection[float], rates: list[float]) -> bool:
    """Whether a percentage is one of the rates (shares of 1) or a returned number, as exactly as it is said."""
    digits = len(said.partition(".")[2])
    value = _value(said)
    half = 0.5 * 10**-digits + 1e-9
    return any(abs(100 * rate - value) <= half for rate in rates) or value in computed


def ids_in(text: str) -> list[str]:
    """Return what in a text reads as an id of a trace or span."""
    found = [match.group(0) for match in _HEX_ID.finditer(text)]
    found += [match.group(1) for match in _NAMED_ID.finditer(text) if any(c.isdigit() for c in match.group(1))]
    return list(dict.fromkeys(found))


def mark_ids(text: str, unknown: Iterable[str], mark: Callable[[str], str]) -> str:
    """Put a mark in the place of ids that do not exist."""
    for one in sorted(unknown, key=len, reverse=True):
        text = re.sub(rf"(?<![0-9A-Za-z_-]){re.escape(one)}(?![0-9A-Za-z_-])", lambda _, one=one: mark(one), text)  # type: ignore[misc]
    return text
