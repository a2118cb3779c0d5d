"""What every tool works with, and small things several of them ask."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halo_worker.analysis.labels import Notes
from halo_worker.analysis.questions import Questions
from halo_worker.rlm.messages import ToolSpec
from halo_worker.rlm.tool import MODEL_BYTES, Tool, ToolError

MAX_IDS = 200_000  # remembered of what a run has seen
_ID = re.compile(r"\w[\w.:-]{2,78}\w")  # what may be the id of a trace in a text


@dataclass(slots=True)
class Desk:
    """The window as the tools see it, and what they have shown so far: numbers an answer may name, traces opened."""

    questions: Questions
    whole: Questions | None = None  # of the window, where `questions` are of a sample: what claims are measured on
    hypotheses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)  # traces of which texts were put before a model
    fetched: set[str] = field(default_factory=set)  # traces that code has: read where a prompt or an output holds them
    seen_numbers: set[float] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)  # what judging said of traces

    def saw(self, value: Any) -> None:
        """Remember the numbers of a result."""
        if len(self.seen_numbers) > MAX_IDS:
            return
        if isinstance(value, bool):
            return
        if isinstance(value, (int, float)):
            self.seen_numbers.add(float(value))
        elif isinstance(value, list):
            for item in value:
                self.saw(item)
        elif isinstance(value, dict):
            for item in value.values():
                self.saw(item)

    def show(self, traces: Iterable[str], max_bytes: int) -> None:
        """Remember whose texts a result holds; one of more bytes than a model is given becomes a variable of code."""
        known = self.opened if max_bytes <= MODEL_BYTES else self.fetched
        if len(known) < MAX_IDS:
            known.update(traces)

    def put_before(self, text: str) -> None:
        """Remember which of the traces that code has a model is shown: in a prompt of a sub-call, or printed."""
        if self.fetched:
            self.opened.update(self.fetched.intersection(_ID.findall(text)))

    async def trace_id(self, given: Any, max_bytes: int = 0) -> str:
        """Return the id of the trace that is meant; a beginning that only one trace has is enough. Raises ToolError.

        `max_bytes`: of the result that will hold its texts.
        """
        text = str(given or "").strip()
        if not text:
            raise ToolError("trace_id is missing; query_traces lists the traces")
        found = await self.questions.rows(
            "SELECT trace_id FROM traces WHERE trace_id = ? OR starts_with(trace_id, lower(?)) LIMIT 3", [text, text]
        )
        ids = [row["trace_id"] for row in found.rows]
        if text in ids:
            ids = [text]
        if len(ids) != 1:
            what = "there is no trace" if not ids else "more than one trace begins with"
            raise ToolError(f"{what} {text[:80]}: use ids that query_traces, search_spans or the overview returned")
        self.show(ids, max_bytes)
        return str(ids[0])

    async def check_pattern(self, pattern: Any) -> str:
        """Return a regular expression that RE2 takes. Raises ToolError, in RE2's words, for one that it does not."""
        text = str(pattern or "")
        if not text:
            raise ToolError("regex_pattern is missing")
        try:
            await self.questions.rows("SELECT regexp_matches('', ?) AS ok", [text])
        except ToolError as error:
            raise ToolError(
                f"the pattern is not valid in RE2 (no lookaround, no backreferences; escape ( [ . with \\): {error}"
            ) from None
        return text


Call = Callable[[dict[str, Any], int], Awaitable[Any]]


def tool(name: str, description: str, properties: dict[str, Any], call: Call, *, required: Sequence[str] = ()) -> Tool:
    """Put a tool together."""
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = list(required)
    return Tool(ToolSpec(name, description, parameters), call)


def whole(arguments: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return an argument that is a whole number, brought within its bounds."""
    value = arguments.get(name)
    if value is None:
        return default
    try:
        return max(low, min(high, int(value)))
    except (TypeError, ValueError):
        raise ToolError(f"{name} is a whole number from {low} to {high}") from None
