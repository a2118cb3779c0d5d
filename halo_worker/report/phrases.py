"""Names of tools as words of a sentence, times and multiples as people say them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from halo_worker.display import named
from halo_worker.report.facts import Common

WEEK_NS = 7 * 86_400 * 10**9
_YEAR_NS = 300 * 86_400 * 10**9

# Verbs whose object is what a call makes: an issue_refund makes a refund. That of others is what they work on: a
# get_balance makes no balance.
_MAKES = frozenset(
    ("issue", "send", "create", "make", "place", "submit", "post", "open", "file", "schedule", "request", "publish")
)
_UNCOUNTED = frozenset(("data", "information", "info", "feedback", "content", "money", "news", "code", "text", "json"))
_TOOL = re.compile(r"([a-z]+)[_-]([a-z]{3,20})|([a-z]+)([A-Z][a-z]{2,19})")


def plural_noun(word: str) -> str:
    """Write the plural of a regular English noun."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def made_by(tool: str) -> str | None:
    """Return what the calls of a tool make, in the plural: 'refunds' of issue_refund; None where its name does not say.

    Only of names that are a verb and one noun.
    """
    match = _TOOL.fullmatch(tool)
    if match is None:
        return None
    verb, noun = match[1] or match[3], (match[2] or match[4]).lower()
    return plural_noun(noun) if verb in _MAKES and noun not in _UNCOUNTED and not noun.endswith("s") else None


def moment(at_ns: int, *, now_ns: int) -> str:
    """Write a time as one says it at `now_ns`, UTC: Tue 14:13 within the week, then the day, then the year too."""
    at = datetime.fromtimestamp(at_ns // 10**9, UTC)
    if 0 <= now_ns - at_ns < WEEK_NS:
        return f"{at:%a %H:%M}"
    return f"{at.day} {at:%b}" if 0 <= now_ns - at_ns < _YEAR_NS else f"{at.day} {at:%b %Y}"


def times(ratio: float) -> str:
    """Write a multiple: 100 times, 1/100 of, 2.2 times."""
    if 0 < ratio < 1:
        inverse = 1 / ratio
        return f"1/{inverse:,.0f} of" if abs(inverse - round(inverse)) < 0.01 * inverse else f"{ratio:.3g} times"
    return f"{ratio:,.0f} times" if abs(ratio - round(ratio)) < 0.005 * abs(ratio) else f"{ratio:,.3g} times"


def multiple(common: Common, *, plural: bool = False) -> str:
    """Write a ratio: 'amount 100 times the order total'."""
    argument = plural_noun(common.name) if plural and re.fullmatch(r"[a-z]{3,20}", common.name) else named(common.name)
    what, other = re.fullmatch(r"([A-Za-z][\w -]*)", common.value), common.value
    article = "the " if what else ""
    return f"{argument} {times(common.ratio or 1)} {article}{other if what else named(other)}"


def example(common: Common) -> str:
    """Write the two numbers of a ratio, as they stand in the call: 11800 for 118.00."""
    return " for ".join(common.example) if common.example else ""


def in_common(common: Common, *, now_ns: int) -> str:
    """Write one thing that affected calls share and others do not, with both counts."""
    if common.kind == "since":
        at = moment(common.at or 0, now_ns=now_ns)
        return f"the first at {at}; none of the {common.others:,} calls before failed this way"
    what = {
        "ratio": lambda: f"{multiple(common)} ({example(common)})",
        "version": lambda: f"release {named(common.value)}",
        "argument": lambda: f"{named(common.name)} {common.value}",
    }[common.kind]()
    shared = f"{common.affected:,} of {common.affected_of:,} affected calls"
    return f"{what}: {shared}, {common.others:,} of {common.others_of:,} others"
