"""Why a finding's calls failed, in the words of their errors: what its title, its cause and its fix are made of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from halo_receiver.conventions import error_signature
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.display import named
from halo_worker.report.identity import alike, tokens

MAX_ERRORS = 60  # of a finding, that are read
REASON_CHARACTERS = 80
OTHERS = 2  # further reasons that a cause names
MIN_SHARE = 0.5  # of the traces, above which a title names what their errors say

# Errors that the same call gets every time, and those that can pass; of other classes neither is known.
PERMANENT = frozenset(("authentication", "context_length", "environment", "format", "model_code", "not_found",
                       "unknown_tool", "unsupported"))  # fmt: skip
PASSING = frozenset(("exhaustion", "rate_limit", "service", "timeout"))

# Lines that say only that something failed, before the one that says what: exit codes, marks around an error.
_BARE = re.compile(r"(?i)^\s*(exit ?code:?|exited with( code)?|error code:?|status:?)\s*-?\d+( \([\w ]+\))?[.:]?\s*$")
_AROUND = re.compile(
    r"</?[a-z_]+>|^\s*(code output|stderr|stdout|output|error|errno -?\d+|fatal)\s*:\s*"
    r"|^\s*(/\S*/)?(ba|da|k|z)?sh: (eval: )?(line )?\d+: ",  # and the shell that says it
    re.IGNORECASE,
)
_MASK = re.compile(r"\s*[(:,]?\s*<[a-z]+>\)?(?=\s*$)|^(<[a-z]+>\W*)+")
_STATUS = re.compile(r"['\"]([1-5]\d\d [A-Za-z ]{2,30})['\"]")  # which the signature would mask as a quoted text
_TRACEBACK = "Traceback (most recent call last)"
# A line that tells of an error among others that a program wrote before it.
_TELLS = re.compile(
    r"(?i)\w*(error|exception)\b|\b(fatal|denied|not found|no such|cannot|can't|could not|failed|invalid|unable|unknown"
    r"|timed out|does not exist|not permitted|not supported|unexpected)\b"
)
# A sentence that says only what was not done; the next one may say why.
_NOT_DONE = re.compile(r"(?i)^\W*(\w+ ){0,3}(could not|cannot|can't|failed to|unable to|not able to)\b")
_CHAIN = re.compile(r"(?i)\b(?:due to|caused by|because of):\s+(?=\w+ ?\S* \S)")
_SENTENCE = re.compile(r"(?<=[\w)>\"'])[.;](?:\s|$)|(?<=[\w)>])\s[-–—]\s")

_TEXTS = f"""
  SELECT b.detector, b.key, b.trace_id, coalesce(s.error_message, f.text, s.status_message, e.quote) AS said,
    s.error_type, error_class(concat_ws(chr(10), s.error_type, said)) AS class
  FROM (
    SELECT DISTINCT detector, key, trace_id, span_id FROM _blamed WHERE list_contains($1, detector)
    QUALIFY row_number() OVER (PARTITION BY detector, key ORDER BY hash(trace_id), span_id) <= {MAX_ERRORS}
  ) b JOIN (SELECT trace_id, span_id, error_type, error_message, status_message FROM steps) s USING (trace_id, span_id)
  LEFT JOIN (SELECT trace_id, span_id, any_value(quote) AS quote FROM errors GROUP BY ALL) e USING (trace_id, span_id)
  LEFT JOIN (
    SELECT trace_id, span_id, arg_max(left(text, 2000), NOT told) AS text FROM failed_results GROUP BY ALL
  ) f USING (trace_id, span_id)
  WHERE said IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Reasons:
    """What the errors of a finding say, the most frequent first, with the traces that say it; and their class."""

    said: tuple[tuple[str, int], ...] = ()
    of: int = 0  # traces whose errors were read
    error_class: str = ""  # of most of them

    @property
    def title(self) -> str:
        """What most of them say, for a title; empty where they differ."""
        return self.said[0][0] if self.said and self.said[0][1] > MIN_SHARE * self.of else ""

    def titled(self, title: str) -> str:
        """Add to a title what most of the errors say, or for how many reasons."""
        if self.title:
            return title if self.title in title else f"{title}: {named(self.title, REASON_CHARACTERS)}"
        return f"{title}, for {len(self.said)} reasons" if len(self.said) > 1 else title

    @property
    def cause(self) -> str:
        """What they say with counts, and whether the same call can work later."""
        if not self.said:
            return ""
        (first, times), *others = self.said
        text = named(first, REASON_CHARACTERS) + (f" in {times} of {self.of} traces" if self.of > 1 else "")
        if shown := [f"{named(one, REASON_CHARACTERS)} in {n}" for one, n in others[:OTHERS]]:
            text += f"; {', '.join(shown)}"
        more = len(others) - OTHERS
        text += f" and {more} more" if more > 0 else ""
        if self.error_class in PERMANENT:
            text += ". The same call gets this error every time: to repeat it cannot help"
        elif self.error_class in PASSING:
            text += ". It can pass: the same call may work later"
        return f"{text}."


def of(reader: Reader, units: Iterable[Unit]) -> dict[tuple[str, str], Reasons]:
    """Return the reasons of findings by detector and key, of the detectors whose sightings are failed calls."""
    names = [unit.name for unit in units if unit.reason]
    errors: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in reader.query(_TEXTS, [names]) if names else ():
        errors[row["detector"], row["key"]].append(row)
    return {place: _counted(rows) for place, rows in errors.items()}


def _counted(rows: Iterable[Mapping[str, str]]) -> Reasons:
    traces: dict[str, set[str]] = defaultdict(set)
    classes = Counter(row["class"] for row in rows)
    for row in rows:
        if said := reason(row["said"], row["error_type"]):
            same = next((one for one in traces if alike(_words(one), _words(said))), said)
            traces[same].add(row["trace_id"])
    counted = sorted(((said, len(those)) for said, those in traces.items()), key=lambda item: (-item[1], item[0]))
    usual, times = classes.most_common(1)[0]
    whole = len({row["trace_id"] for row in rows})
    return Reasons(tuple(counted), whole, usual if times > classes.total() / 2 else "")


def _words(said: str) -> tuple[str, ...]:
    return tokens(said[:REASON_CHARACTERS])


def _raised(traceback: str) -> str:
    """Return a stack trace up to its exception, without what the program wrote after it."""
    lines = traceback.splitlines()
    ends = (at for at, line in enumerate(lines) if at and line[:1].strip() and _TELLS.search(line))
    return "\n".join(lines[: next(ends, len(lines)) + 1])


def reason(text: str, error_type: str | None = None) -> str:
    """Return what an error says in a few words, without ids and numbers; empty where it says nothing."""
    text = _raised(text[text.rfind(_TRACEBACK) :]) if _TRACEBACK in text else text
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and _BARE.match(lines[0]):  # then what a program wrote: the line that tells of an error, if any
        lines = lines[next((at for at, line in enumerate(lines) if _TELLS.search(line)), len(lines)) :]
    masked = error_signature(_AROUND.sub("", _AROUND.sub("", _STATUS.sub(r"\1", "\n".join(lines)))).strip(), None)
    first, *rest = _SENTENCE.split(_CHAIN.split(masked)[-1], maxsplit=2)
    if rest and _NOT_DONE.match(first) and _TELLS.search(rest[0]):
        first = rest[0]
    while (shorter := _MASK.sub("", first).strip(" :,;.-")) != first:
        first = shorter
    if error_type and len(re.findall(r"[A-Za-z]{2,}", first)) < 2:
        first = f"{error_type.rpartition('.')[2]}: {first}".rstrip(": ")
    return first if re.search(r"[A-Za-z]{2}", first) and first != _TRACEBACK else ""
