"""What the calls that failed share and other calls of the same name do not: arguments, ratios, version, time.

A thing is shared that holds of 80 % of three or more affected calls and of 10 % of the others at most, and that chance
would not do so well (Fisher's exact test). A ratio needs both numbers in the call: its argument, and a number in its
error or in an earlier result of its trace.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from halo_worker.display import NAME_CHARACTERS, one_line
from halo_worker.report.facts import Common
from halo_worker.report.statistics import fisher_exact

MIN_AFFECTED = 3
MIN_OTHERS = 3
AT_LEAST = 0.8  # of the affected calls
AT_MOST = 0.1  # of the others
P_SHARED = 0.05
SAME_RATIO = 0.005  # relative
MAX_NUMBERS = 40  # of one text or one result
MAX_DEPTH = 4

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:,\d{3})*(?:\.\d{1,9})?(?![\w])")
# The words of an error that name a number: "the order total of 118.00", "max_tokens: 4096".
_NAMED_WITH = re.compile(
    r"(?i)\b(?:the|its|a|an|maximum|allowed) ((?:[\w-]{1,30} ){0,2}?[\w-]{1,30}?)(?: of| is| was|:|=)? ?[$€£]?$"
)
_NAMED_BY = re.compile(r"([A-Za-z][\w-]{1,40}) ?(?:of|is|[:=]) ?$")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its arguments by path, its error, and the numbers of earlier results by tool and path."""

    affected: bool
    start_ns: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    version: str = ""
    earlier: Mapping[str, str] = field(default_factory=dict)  # numbers as they are written


def compare(calls: Sequence[Call]) -> list[Common]:
    """Return what the affected of some calls share and the others do not: ratios, arguments, version."""
    affected = [call for call in calls if call.affected]
    others = [call for call in calls if not call.affected]
    if len(affected) < MIN_AFFECTED:
        return []
    ratios = list(_ratios(affected, others))
    related = {one.name for one in ratios}
    ranges = [one for one in _arguments(affected, others) if one.name not in related]
    return [*ratios, *_values("version", "", lambda call: call.version, affected, others), *ranges]


def parsed(text: str | None) -> Any:
    """Read JSON, its numbers as they are written; None where it is none."""
    try:
        return json.loads(text or "null", parse_float=Written, parse_int=Written)
    except (ValueError, RecursionError):
        return None


class Written(str):
    """A number of a JSON text, as it is written there."""


def leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Give the values of an object by their paths; members of lists share one."""
    if isinstance(value, dict) and depth < MAX_DEPTH:
        for key, inner in list(value.items())[:MAX_NUMBERS]:
            yield from leaves(inner, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list) and depth < MAX_DEPTH:
        for inner in value[:MAX_NUMBERS]:
            yield from leaves(inner, path, depth + 1)
    elif path and value is not None:
        yield path, value


def _number(value: Any) -> float | None:
    """Read a number that is written as one, in JSON or as its text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value.replace(",", ""))
        return number if number else None
    return None


def _said_numbers(error: str) -> list[tuple[str, str]]:
    """Return the numbers of an error, each with the words that name it."""
    found = []
    for match in list(_NUMBER.finditer(error))[:MAX_NUMBERS]:
        before = error[max(0, match.start() - 100) : match.start()]
        words = _NAMED_WITH.search(before) or _NAMED_BY.search(before)
        found.append((words[1] if words else "", match[0]))
    return found


@dataclass(frozen=True, slots=True)
class _Pair:
    """An argument and another number of the same call, as they are written."""

    argument: str
    other: str
    ratio: float


_Source = Callable[[Call], tuple[str, str] | None]  # the name of a number in a call, and the number


def _ratios(affected: Sequence[Call], others: Sequence[Call]) -> Iterator[Common]:
    """Give for each argument the number that it is a constant multiple of, if there is one."""
    arguments = sorted({path for call in affected for path, value in call.arguments.items() if _number(value)})
    longest = max((len(_said_numbers(call.error)) for call in affected), default=0)
    in_errors = [_in_error(place) for place in range(longest)]
    places = sorted({place for call in affected for place in call.earlier})
    in_results = [_in_result(place) for place in places]
    for argument in arguments:
        tried = (
            *(
                _ratio(argument, source, _same_as(source, in_results, affected), affected, others)
                for source in in_errors
            ),
            *(_ratio(argument, source, source, affected, others) for source in in_results),
        )
        found = next(filter(None, tried), None)
        if found is not None:
            yield found


def _in_error(place: int) -> _Source:
    def source(call: Call) -> tuple[str, str] | None:
        numbers = _said_numbers(call.error)
        return numbers[place] if place < len(numbers) else None

    return source


def _in_result(place: str) -> _Source:
    return lambda call: (place, call.earlier[place]) if place in call.earlier else None


def _same_as(source: _Source, in_results: Sequence[_Source], affected: Sequence[Call]) -> _Source | None:
    """Find the earlier result that holds the number an error speaks of: other calls have it too."""

    def same(result: _Source) -> int:
        pairs = [(source(call), result(call)) for call in affected]
        return sum(a is not None and b is not None and _number(a[1]) == _number(b[1]) for a, b in pairs)

    return next((result for result in in_results if same(result) >= AT_LEAST * len(affected)), None)


def _ratio(
    argument: str, source: _Source, compared: _Source | None, affected: Sequence[Call], others: Sequence[Call]
) -> Common | None:
    pairs = [pair for call in affected if (pair := _pair(call, argument, source)) is not None]
    if len(pairs) < max(MIN_AFFECTED, AT_LEAST * len(affected)):
        return None
    ratio = median(pair.ratio for pair in pairs)
    having = [pair for pair in pairs if math.isclose(pair.ratio, ratio, rel_tol=SAME_RATIO)]
    if len(having) < AT_LEAST * len(affected) or math.isclose(ratio, 1, rel_tol=0.02):
        return None
    if len({(pair.argument, pair.other) for pair in having}) < 2:
        return None  # two constants have a constant ratio
    so_too = 0
    if compared is not None:
        rest = [pair for call in others if (pair := _pair(call, argument, compared)) is not None]
        so_too = sum(math.isclose(pair.ratio, ratio, rel_tol=SAME_RATIO) for pair in rest)
        if compared is source and len(rest) < MIN_OTHERS:
            return None  # nothing to hold it against
    if so_too > AT_MOST * len(others):
        return None
    named = max((name for call in affected if (said := source(call)) for name in (said[0],)), key=len, default="")
    name = one_line(argument.rsplit(".", 1)[-1], NAME_CHARACTERS)
    return Common(
        kind="ratio", name=name, value=one_line(named or "number in its error", NAME_CHARACTERS),
        affected=len(having), affected_of=len(affected), others=so_too, others_of=len(others),
        ratio=float(f"{ratio:.4g}"), example=(having[0].argument, having[0].other),
        rejected=sum(name.lower() in call.error.lower() for call in affected) >= AT_LEAST * len(affected),
    )  # fmt: skip


def _pair(call: Call, argument: str, source: _Source) -> _Pair | None:
    said = source(call)
    given, other = _number(call.arguments.get(argument)), _number(said[1]) if said else None
    if given is None or other is None or said is None:
        return None
    return _Pair(str(call.arguments[argument]), said[1], given / other)


def _arguments(affected: Sequence[Call], others: Sequence[Call]) -> Iterator[Common]:
    for path in sorted({path for call in affected for path in call.arguments}):
        found = [*_values("argument", path, lambda call, path=path: call.arguments.get(path), affected, others)]  # type: ignore[misc]
        yield from found or _range(path, affected, others)


def _values(
    kind: Any, name: str, value_of: Callable[[Call], Any], affected: Sequence[Call], others: Sequence[Call]
) -> Iterator[Common]:
    """Give the value that the affected calls have and the others have not."""
    values = [str(value) for call in affected if (value := value_of(call)) not in (None, "")]
    value = max(sorted(set(values)), key=values.count, default=None)
    if value is None:
        return
    has = [sum(str(value_of(call)) == value for call in some) for some in (affected, others)]
    shown = value if kind == "version" else f"= {value}"
    yield from _if_shared(kind, name, shown, has, affected, others)


def _range(path: str, affected: Sequence[Call], others: Sequence[Call]) -> Iterator[Common]:
    """Give the bound of an argument above or below which the affected calls are, and the others are not."""
    given = sorted(number for call in affected if (number := _number(call.arguments.get(path))) is not None)
    if len(given) < AT_LEAST * len(affected) or len(set(given)) < 2:
        return
    spare = int(len(given) * (1 - AT_LEAST) + 1e-9)  # 0.2 is a little less than that
    for sign, bound in (("≥", given[0]), ("≤", given[-1]), ("≥", given[spare]), ("≤", given[-1 - spare])):

        def inside(call: Call, sign: str = sign, bound: float = bound) -> bool:
            number = _number(call.arguments.get(path))
            return number is not None and (number >= bound if sign == "≥" else number <= bound)

        has = [sum(inside(call) for call in some) for some in (affected, others)]
        found = list(_if_shared("argument", path, f"{sign} {bound:,.10g}", has, affected, others))
        if found:
            yield from found
            return


def _if_shared(
    kind: Any, name: str, value: str, has: Sequence[int], affected: Sequence[Call], others: Sequence[Call]
) -> Iterator[Common]:
    hit, rest = has
    if len(others) < MIN_OTHERS or hit < AT_LEAST * len(affected) or rest > AT_MOST * len(others):
        return
    if fisher_exact(hit, len(affected) - hit, rest, len(others) - rest) > P_SHARED:
        return
    yield Common(
        kind=kind, name=one_line(name, NAME_CHARACTERS), value=one_line(value, NAME_CHARACTERS), affected=hit,
        affected_of=len(affected), others=rest, others_of=len(others),
    )  # fmt: skip
