"""A trace laid out: every span once, below its parent, with its place in time, its marks, and what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halo_receiver.store.queries import json_rows
from halo_receiver.store.reader import Reader
from halo_worker.analysis.tools import steps
from halo_worker.display import one_line
from halo_worker.report import formats
from halo_worker.report.archive import Archive

MAX_SPANS = 50_000  # of one trace that are drawn
MAX_DEPTH = 12  # drawn by indent
MIN_WIDTH = 0.3  # percent of a bar, so that it can be seen
MARKED_REPORTS = 20  # the newest, in which findings about a trace are looked for
NAME_CHARACTERS = 80
STEPS = 50  # of the conversation on a page
STEPS_BEFORE = 200  # read to know what a page's first steps repeat
SHOWN_CHARACTERS = 4_000  # of one text of the conversation; the rest by a button

# Label of a part of a step → the column that holds it whole; messages are labelled by their role.
_FIELDS = {
    "asked": "input_text", "given": "input_text", "says": "output_text", "→": "output_text", "returns": "output_text",
    "calls": "output_messages", "error": "error_message",
}  # fmt: skip


@dataclass(slots=True)
class Mark:
    """What a report says of a span: `role` is culprit or symptom."""

    role: str
    issue_id: str
    title: str


@dataclass(slots=True)
class Row:
    """One span, drawn: `left` and `width` are percent of the trace."""

    span: dict[str, Any]
    depth: int
    left: float
    width: float
    agent: str
    note: str = ""  # why it does not lie below its parent
    marks: list[Mark] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return str(self.span["span_type"] or self.span["kind"].lower() or "span")

    @property
    def tokens(self) -> int | None:
        """Tokens in and out; None where nobody said."""
        said = [self.span[name] for name in ("input_tokens", "output_tokens") if self.span[name] is not None]
        return sum(said) if said else None

    @property
    def name(self) -> str:
        """Its name, on one line."""
        return one_line(self.span["name"] or "", NAME_CHARACTERS)

    @property
    def about(self) -> str:
        """Its model or tool, where the name does not say it."""
        said = self.span["model"] or self.span["tool_name"] or ""
        return "" if said in (self.span["name"] or "") else one_line(said, NAME_CHARACTERS)

    @property
    def took(self) -> str:
        """How long it took, in words."""
        return formats.duration(self.span["duration_ns"]) if self.span["duration_ns"] is not None else ""

    @property
    def spent(self) -> str:
        """Its tokens and its cost, in words."""
        cost = formats.dollars(self.span["cost_usd"]) if self.span["cost_usd"] else ""
        return " · ".join(filter(None, [f"{formats.short(self.tokens)} tok" if self.tokens else "", cost]))

    @property
    def failed(self) -> bool:
        """Whether it ended in an error."""
        return bool(self.span["status_code"] == "ERROR" or self.span["error"])

    @property
    def roles(self) -> list[str]:
        """What reports call it, each once."""
        return list(dict.fromkeys(mark.role for mark in self.marks))

    def packed(self) -> list[Any]:
        """Return it as the script reads it."""
        return [
            self.span["span_id"], self.depth, self.kind, self.name, self.about, self.left, self.width, self.took,
            self.spent, self.failed, self.roles, self.note,
        ]  # fmt: skip


def lay_out(spans: Sequence[dict[str, Any]], marks: Mapping[str, list[Mark]]) -> list[Row]:
    """Put spans (`trace_spans.outline`) in the order in which they are drawn."""
    starts = [span["start_ns"] for span in spans if span["start_ns"]]
    start = min(starts, default=0)
    end = max((span["start_ns"] + (span["duration_ns"] or 0) for span in spans if span["start_ns"]), default=start)
    whole = max(1, end - start)
    rows = []
    for span, depth, agent, note in _tree(spans):
        left = min(100 - MIN_WIDTH, 100 * max(0, (span["start_ns"] or start) - start) / whole)
        width = min(100 - left, max(MIN_WIDTH, 100 * (span["duration_ns"] or 0) / whole))
        found = marks.get(span["span_id"], [])
        rows.append(Row(span, min(depth, MAX_DEPTH), round(left, 2), round(width, 2), agent, note, found))
    return rows


def _tree(spans: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int, str, str]]:
    """Yield each span once with its depth and its agent: roots, orphans, then the first of each circle of parents."""
    ids = {span["span_id"] for span in spans}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for span in spans:
        children.setdefault(span["parent_span_id"] if span["parent_span_id"] in ids else None, []).append(span)
    shown: set[str] = set()
    for begin in (*children.get(None, ()), *spans):
        todo = [(begin, 0, "")]
        while todo:
            span, depth, above = todo.pop()
            if span["span_id"] in shown:
                continue
            shown.add(span["span_id"])
            parent, agent = span["parent_span_id"], span["agent_name"] or above
            note = ""
            if span is begin and parent:
                note = "its parents form a circle" if parent in ids else "its parent is not here"
            yield span, depth, agent, note
            todo.extend((child, depth + 1, agent) for child in reversed(children.get(span["span_id"], [])))


def marks_of(archive: Archive, titles: Mapping[str, str], trace_id: str) -> dict[str, list[Mark]]:
    """Return what the newest reports found in a trace, by span; an issue, of those in `titles`, marks a span once."""
    found: dict[str, list[Mark]] = {}
    told: set[tuple[str, str]] = set()
    for run_id in archive.ids()[:MARKED_REPORTS]:
        for row in archive.affected_rows(run_id, trace_id):
            issue_id = str(row.get("issue_id"))
            for role, name in (("culprit", "origin_span_id"), ("symptom", "symptom_span_id")):
                span_id = row.get(name)
                if issue_id in titles and isinstance(span_id, str) and (issue_id, span_id) not in told:
                    told.add((issue_id, span_id))
                    found.setdefault(span_id, []).append(Mark(role, issue_id, titles[issue_id]))
    return found


@dataclass(slots=True)
class Said:
    """One text of the conversation: its beginning, its length in characters, and the column that holds it whole."""

    label: str
    text: str
    length: int
    column: str


@dataclass(slots=True)
class Turn:
    """One step of the conversation."""

    span_id: str
    number: int
    shared: list[str]
    said: list[Said]


def conversation(reader: Reader, trace_id: str, first: int) -> tuple[list[tuple[str, str]], list[Turn]]:
    """Return what steps share (instructions, tool lists), by its name, and STEPS steps from number `first` on.

    A step has what is new in it: what earlier steps have shown is not said again.
    """
    begin = max(1, first - STEPS_BEFORE)
    count = first - begin + STEPS
    sql = steps.ROWS.format(chars=steps.TEXT, count=count, skip=begin - 1)
    rows = json_rows(reader, sql, [trace_id], resolve=False)[1]
    models = [row["span_id"] for row in rows if row["span_type"] == "llm"]
    asked = json_rows(reader, steps.MESSAGES, [trace_id, models], resolve=False)[1]
    shared, made = steps.steps_of(rows, {row["span_id"]: row["input_messages"] for row in asked})
    turns = [
        Turn(step.span_id, number, step.shared, [_said(*part) for part in step.parts])
        for number, step in enumerate(made, begin)
        if number >= first
    ]
    used = {name for turn in turns for name in turn.shared}
    return [one for one in shared if one[0] in used], turns


def _said(label: str, text: str, _end: str, length: int) -> Said:
    return Said(label, text[:SHOWN_CHARACTERS], length, _FIELDS.get(label, "input_messages"))
