"""Quotes that prove: from the field that speaks, whole words of it, and of equal calls the arguments of both.

Detectors point at a span, often by its name alone, which proves nothing. Of the few spans that a report quotes, all
fields are read here, and the best is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from halo_receiver.conventions.meaning import TABLE
from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.evidence import decoded_text
from halo_worker.report.model import Evidence

LENGTH = 300  # characters of a quote
REACH = 60  # characters that are given up, or added, to end between words
READ_AT_ONCE = 125  # spans whose texts are read by one statement, each of which passes over the whole window
PAIRS = 2  # traces of which two spans each are quoted
BEFORE_CALL = 400  # characters before a tool's name in which its call begins

_COLUMNS = (
    "trace_id, span_id, name, span_type, convention, status_message, error_message, error_type, input_text, "
    "output_text, attributes, events, output_messages->>'$[*].tool_calls[*].name' AS calls"
)
_ARGUMENTS = ('"arguments"', '"input"', '"args"')
_CJK = 0x2E80  # from here on scripts write without spaces: every place is between words

Row = dict[str, Any]
Field = tuple[str, str]  # its name as evidence has it, its text


@dataclass(frozen=True, slots=True)
class _Hit:
    """What a detector said of a span that is quoted."""

    subject: str
    also: tuple[str, ...]  # spans of the same trace that are quoted with it


def prove(reader: Reader, findings: Sequence[DraftFinding], units: Mapping[str, Unit]) -> list[DraftFinding]:
    """Return the findings with evidence that speaks. Needs `_blamed`."""
    hits = _hits(reader, findings)
    places = {(one.trace_id, one.span_id) for finding in findings for one in finding.evidence}
    places |= {(trace_id, other) for (_, trace_id, _), hit in hits.items() for other in hit.also}
    ordered = sorted(places)
    rows = {
        (row["trace_id"], row["span_id"]): row
        for first in range(0, len(ordered), READ_AT_ONCE)
        for row in queries.spans_of(reader, _COLUMNS, ordered[first : first + READ_AT_ONCE])
    }
    return [
        replace(finding, evidence=list(_proofs(finding, units[finding.detector_name], hits, rows)))
        for finding in findings
    ]


def _hits(reader: Reader, findings: Sequence[DraftFinding]) -> dict[tuple[str, str, str], _Hit]:
    quoted = sorted({(f.detector_name, one.trace_id, one.span_id) for f in findings for one in f.evidence})
    rows = reader.query(
        "SELECT detector, trace_id, span_id, min(subject) AS subject, list_distinct(flatten(list(also))) AS also "
        "FROM _blamed WHERE (detector, trace_id, span_id) IN (SELECT (unnest($1), unnest($2), unnest($3))) "
        "GROUP BY ALL",
        [[one[part] for one in quoted] for part in range(3)],
    )
    return {
        (row["detector"], row["trace_id"], row["span_id"]): _Hit(row["subject"] or "", tuple(sorted(row["also"] or ())))
        for row in rows
    }


def _proofs(
    finding: DraftFinding, unit: Unit, hits: Mapping[tuple[str, str, str], _Hit], rows: Mapping[tuple[str, str], Row]
) -> Iterator[Evidence]:
    for place, one in enumerate(finding.evidence):
        hit = hits.get((finding.detector_name, one.trace_id, one.span_id), _Hit("", ()))
        if hit.also and place >= PAIRS:
            return
        for span_id in (*hit.also, one.span_id):
            row = rows.get((one.trace_id, span_id))
            if row is not None:
                said = one if span_id == one.span_id else one.model_copy(update={"span_id": span_id})
                yield _proof(said, row, unit, hit.subject)


def _proof(one: Evidence, row: Row, unit: Unit, subject: str) -> Evidence:
    if unit.quotes == "exact":
        return one
    if one.field != "name":
        text = _plain(row, one.field)
        if text is not None and one.quote in text:
            return one.model_copy(update={"quote": _excerpt(text, one.quote, at_end=unit.quotes == "end")})
    for name, text in _speaking(row, unit, subject):
        if text.strip():
            quote = _excerpt(text, text[:LENGTH], at_end=unit.quotes == "end")
            return one.model_copy(update={"field": name, "quote": quote})
    return one


def _plain(row: Row, field: str) -> str | None:
    return decoded_text(row.get(field))


def _speaking(row: Row, unit: Unit, subject: str) -> Iterator[Field]:
    """Give the fields of a span that may speak, the best first; its name is the last."""
    for field in unit.speaks:
        yield from _calls(row, subject, named=True) if field == "call" else _mapped(row, field)
    for field in ("error_message", "status_message"):
        yield field, _plain(row, field) or ""
    if row["error_type"]:
        yield from _mapped(row, "error_type")
    if row["span_type"] == "llm":
        yield from _calls(row, subject)
    texts = (
        ("input_text", "output_text") if row["span_type"] in ("tool", "retriever") else ("output_text", "input_text")
    )
    for field in texts:
        yield field, _plain(row, field) or ""
    yield "name", row["name"] or ""


def _mapped(row: Row, field: str) -> Iterator[Field]:
    """Give a field of ours where its convention keeps it, in an attribute as sent."""
    if field in ("name", "input_text", "output_text", "status_message", "error_message"):
        yield field, _plain(row, field) or ""
        return
    convention = TABLE.conventions.get(row["convention"] or "")
    keys = [source for source in getattr(convention, field, ()) if isinstance(source, str)] if convention else []
    for key in (*keys, *(("error.type",) if field == "error_type" else ())):
        value = (row["attributes"] or {}).get(key)
        if value is not None:
            yield f'attributes["{key}"]', decoded_text(value) or ""


def _calls(row: Row, subject: str, *, named: bool = False) -> Iterator[Field]:
    """Give the attributes in which a model's call of a tool stands, those of answers before those of prompts.

    Where conventions write a call's name and arguments apart, the arguments, or with `named` the name.
    """
    called = json.loads(row["calls"]) if isinstance(row["calls"], str) else row["calls"] or []
    fields = sorted(_attributes(row), key=lambda field: any(word in field[1] for word in ("input", "prompt")))
    for tool in [subject] if subject in called else called:
        for _, key, text in fields:
            if text == tool and key.endswith("name"):
                wanted = key if named else f"{key[:-4]}arguments"
                yield from ((name, said) for name, other, said in fields if other == wanted)
        for name, _, text in fields:
            if f'"{tool}"' in text:
                yield name, _call_in(text, tool)


def _attributes(row: Row) -> Iterator[tuple[str, str, str]]:
    """Give the attributes of a span and of its events: as evidence names them, their keys, their texts."""
    for key, value in (row["attributes"] or {}).items():
        yield f'attributes["{key}"]', key, decoded_text(value) or ""
    for place, event in enumerate(row["events"] or ()):
        for key, value in (event.get("attributes") or {}).items():
            yield f'events[{place}].attributes["{key}"]', key, decoded_text(value) or ""


def _call_in(text: str, tool: str) -> str:
    """Return the innermost object of a JSON text that names a tool, with its arguments; else all of the text."""
    place = text.rfind(f'"{tool}"')
    start = text.rfind("{", max(0, place - BEFORE_CALL), place)
    while start >= 0:
        try:
            _, stop = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            stop = 0
        if stop > place and any(word in text[start:stop] for word in _ARGUMENTS):
            return text[start:stop]
        start = text.rfind("{", max(0, place - BEFORE_CALL), start)
    return text


def _excerpt(text: str, quote: str, *, at_end: bool = False) -> str:
    """Return the part of `text` around `quote` that begins and ends between words."""
    if at_end:
        stop = len(text.rstrip())
        start = max(0, stop - LENGTH)
    else:
        start = text.find(quote)
        stop = start + min(len(quote.rstrip()), LENGTH)
    start = _boundary(text, start, -1)
    if not _between(text, stop):  # the rest of the word, where it is short, else without it
        outer = _boundary(text, stop, 1)
        stop = outer if outer != stop else _boundary(text, stop, -1, least=start + 1)
    return text[start:stop].strip()


def _boundary(text: str, place: int, step: int, least: int = 0) -> int:
    """Return the nearest place between words from `place` on, in steps of `step`; `place` if there is none in reach."""
    at = place
    while abs(at - place) <= REACH and least <= at <= len(text):
        if _between(text, at):
            return at
        at += step
    return place


def _between(text: str, at: int) -> bool:
    """Say whether no word and no number goes over this place: not even 3.50, example.com or gpt-4.1."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if ord(before) >= _CJK or ord(after) >= _CJK:
        return True
    if (_wordy(before) and _wordy(after)) or before == "\\":
        return False
    if before in ".,:/@-'’" and at >= 2:
        return not (_wordy(text[at - 2]) and _wordy(after))
    if after in ".,:/@-'’" and at + 1 < len(text):
        return not (_wordy(before) and _wordy(text[at + 1]))
    return True


def _wordy(character: str) -> bool:
    return character.isalnum() or character == "_"
