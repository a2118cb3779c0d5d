"""What a model says of traces, as typed labels: read, verified by quotes, kept under note ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from halo_worker.analysis.categories import category_of
from halo_worker.display import one_line, visible
from halo_worker.report.labelled import Label
from halo_worker.report.model import Evidence

MAX_CATEGORIES = 4  # of one label
MAX_LABELS = 200  # of one page of a trace
MAX_WHAT = 600
COLUMNS = ("trace_id", "span_id", "step", "category", "what", "quote", "note_id", "issue_id")
OUTCOMES = ("ok", "wrong", "unsure")

JUDGED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "outcome": {"enum": list(OUTCOMES)},
        "labels": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "step": {"type": "string"},
                    "categories": {"type": "array", "items": {"type": "string"}},
                    "what": {"type": "string"},
                    "quote": {"type": ["string", "null"]},
                    "expectation": {"type": ["string", "null"]},
                },
                "required": ["step", "categories", "what", "quote"],
            },
        },
    },
    "required": ["outcome", "labels"],
}
NOTED: dict[str, Any] = {  # of several traces at once, which name their spans by id
    "type": "object",
    "properties": {
        "notes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "trace_id": {"type": "string"},
                    "span_id": {"type": "string"},
                    "categories": {"type": "array", "items": {"type": "string"}},
                    "what": {"type": "string"},
                    "quote": {"type": ["string", "null"]},
                    "expectation": {"type": ["string", "null"]},
                },
                "required": ["trace_id", "span_id", "categories", "what", "quote"],
            },
        }
    },
    "required": ["notes"],
}
SECOND_LOOK: dict[str, Any] = {
    "type": "object",
    "properties": {"stands": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["stands", "why"],
}


@dataclass(frozen=True, slots=True)
class Said:
    """A label as a model said it, at the span of its step."""

    trace_id: str
    span_id: str
    step: str
    categories: tuple[str, ...]
    what: str
    quote: str
    expectation: str = ""  # the id of the one that it breaks

    @property
    def told(self) -> str:
        """What it says, with the expectation that it breaks."""
        return f"[breaks {self.expectation}] {self.what}" if self.expectation else self.what


@dataclass(frozen=True, slots=True)
class Note:
    """A label whose quote was found."""

    said: Said
    evidence: Evidence


@dataclass(slots=True)
class Notes:
    """The labels of a run by note id, and the outcome of each judged trace."""

    notes: dict[str, Note] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)  # why labels were dropped
    earlier: Sequence[Label] = ()  # of earlier windows
    _names: dict[Said, str] = field(default_factory=dict)

    def add(self, note: Note) -> str:
        """Keep a label; return its id. One that is there already keeps its own."""
        name = self._names.setdefault(note.said, f"n{len(self._names) + 1}")
        self.notes[name] = note
        return name

    def rows(self) -> list[tuple[str | None, ...]]:
        """Return the rows of the table `labels` (COLUMNS): of this window by note id, of earlier ones by issue id."""
        here = [(*astuple(one)[:-1], name, None) for name, one in self._here()]
        return [*here, *((*astuple(one)[:-1], None, one.issue_id) for one in self.earlier)]

    def labels(self) -> list[Label]:
        """Return the labels of this window, one for each category."""
        return [one for _, one in self._here()]

    def _here(self) -> Iterator[tuple[str, Label]]:
        for name, note in self.notes.items():
            said = note.said
            for category in said.categories:
                yield name, Label(said.trace_id, said.span_id, said.step, category, said.told, note.evidence.quote)


def read(value: Any, trace_id: str, spans: Mapping[str, str]) -> tuple[str, list[Said], list[str]]:
    """Read what a model said of a trace whose steps are `spans`: (outcome, labels, problems)."""
    outcome = str(value.get("outcome")) if isinstance(value, dict) else ""
    items = value.get("labels") if isinstance(value, dict) else None
    said, problems = [], []
    for item in items[:MAX_LABELS] if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        step = str(item.get("step") or "").strip().upper().split(" ")[0]
        categories = _categories(item)
        if step not in spans or not categories:
            what = f"there is no step {step[:20]}" if step not in spans else "it names no category"
            problems.append(f"label on trace {trace_id}: {what}")
            continue
        said.append(_said(item, trace_id, spans[step], step, categories))
    return outcome if outcome in OUTCOMES else "unsure", said, problems


def noted(items: Any) -> tuple[list[Said], list[str]]:
    """Read the notes (NOTED) of a reader of several traces: (labels, problems)."""
    said, problems = [], []
    for item in items if isinstance(items, list) else []:
        named = item if isinstance(item, dict) else {}
        trace, span = (str(named.get(name) or "") for name in ("trace_id", "span_id"))
        if trace and span and (categories := _categories(named)):
            said.append(_said(named, trace, span, "", categories))
        else:
            problems.append(f"note on trace {trace[:40] or '?'}: it names no {'category' if span else 'span'}")
    return said, problems


def _categories(item: Mapping[str, Any]) -> tuple[str, ...]:
    named = item.get("categories") or [item.get("category")]
    known = [category_of(one) for one in (named if isinstance(named, list) else [named])]
    return tuple(dict.fromkeys(one for one in known if one is not None))[:MAX_CATEGORIES]


def _said(item: Mapping[str, Any], trace_id: str, span_id: str, step: str, categories: tuple[str, ...]) -> Said:
    words = visible(one_line(str(item.get("what") or categories[0]), MAX_WHAT))
    expectation = str(item.get("expectation") or "").strip()
    return Said(trace_id, span_id, step, categories, words, str(item.get("quote") or ""), expectation)
