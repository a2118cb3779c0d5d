"""What one detector is: a definition that names spans, and the words for what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from halo_worker.report.model import Severity

Scope = Literal["trace", "group"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A deterministic check over the analysis tables, as `rules` reads it from a file.

    `sql` yields one row a sighting: key (what identifies the failure mode: ids and numbers masked), subject (the
    tool, agent or model, for the title), trace_id, span_id (where it shows), origin_span_id (what caused it; NULL
    lets the blame be looked for), field and quote (verbatim in that field of span_id; the name where no text proves it:
    `quotes` then looks for a field that does), and maybe also (other spans of the trace to quote beside it). In `title`
    and the other texts, `{subject}`, `{key}` and `{what}` are filled in: `{what}` is that of the key, or what stands
    after its last |. With `reason`, the cause names what the errors say, and maybe the title. Raise `version` with
    every change of what it finds: rates before and after are then not compared. `replaces` names the detectors of
    earlier builds whose issues it continues. `scope`: one trace is enough to tell, or it takes the others. `early`:
    what it names in a part of a trace it also names in the whole, whatever else arrives. `needs` names facts of the
    capture. `driven_by` is the table, with a condition maybe, of whose rows the sightings are: the SQL is not run where
    there are none.
    """

    name: str
    category: str
    definition: str
    source: str
    limits: str
    sql: str
    title: str
    description: str
    fix: str
    validation: str
    cause: str = ""  # what lies behind such a sighting
    reason: Literal["", "cause", "title"] = ""  # sightings are failed calls: where it stands what their errors say
    confidence: float = 0.9
    severity: Severity | None = None
    min_traces: int = 1
    version: int = 1
    scope: Scope = "trace"
    early: bool = False
    stage: int = 1  # later stages run after the earlier ones, whose hits they read
    needs: tuple[str, ...] = ()
    driven_by: str = ""  # of halo's own
    replaces: tuple[str, ...] = ()
    quotes: Literal["start", "end", "exact"] = "start"  # which part of a long text; exact: as found, though it cuts
    what: Mapping[str, str] = field(default_factory=dict)  # {what} of the texts, by key
    categories: Mapping[str, str] = field(default_factory=dict)  # by key, where it is not `category`
    fixes: Mapping[str, str] = field(default_factory=dict)  # by key or class of error, where it is not `fix`
    speaks: tuple[str, ...] = ()  # fields to quote from where a sighting has the span's name alone, the best first
    examples: Sequence[Mapping[str, Any]] = ()  # tiny traces: `examples` says how they are written
    path: str = ""  # the file
    line: int = 1  # of it, at which `sql` begins
