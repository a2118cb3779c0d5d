"""Windows whose every word a test knows: flat span lines → sealed segments → a reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker import inputs

BEGIN = 1_795_000_000


def trace_id(number: int) -> str:
    return f"{0xC0FFEE << 104 | number:032x}"


def span_id(trace: int, number: int) -> str:
    return f"{trace * 1000 + number + 1:016x}"


def _iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def span(
    trace: int, number: int = 0, *, name: str = "chat", kind: str = "LLM", parent: int | None = None, error: str = "",
    output: str = "fine", given: str = "hello", **attributes: Any,
) -> dict[str, Any]:  # fmt: skip
    """One flat line. Spans of a trace begin a second apart, traces a minute apart."""
    begin = BEGIN + trace * 60 + number
    values: dict[str, Any] = {
        "openinference.span.kind": kind, "input.value": given, "output.value": output,
        "agent.name": f"agent-{trace % 3}", **attributes,
    }  # fmt: skip
    if kind == "LLM":
        values |= {"llm.model_name": "gpt-4o-mini", "llm.token_count.prompt": 10, "llm.token_count.completion": 5}
    if kind == "TOOL":
        values["tool.name"] = name
    return {
        "trace_id": trace_id(trace), "span_id": span_id(trace, number),
        "parent_span_id": "" if parent is None else span_id(trace, parent), "name": name, "kind": "SPAN_KIND_INTERNAL",
        "start_time": _iso(begin), "end_time": _iso(begin + 0.5),
        "status": {"code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK", "message": error},
        "resource": {"attributes": {"service.name": f"service-{trace % 2}"}}, "scope": {"name": "test", "version": "1"},
        "attributes": values,
    }  # fmt: skip


def ordinary(traces: int, *, failing: Iterable[int] = (), first: int = 0) -> Iterator[dict[str, Any]]:
    """Traces of an agent, a model call and a tool, numbered from `first`; the tool of some fails."""
    bad = set(failing)
    for number in range(first, first + traces):
        yield span(number, 0, name="agent", kind="AGENT", given=f"refund order {number}", output="your refund is done")
        yield span(number, 1, name="chat", parent=0, given=f"refund order {number}", output=f"calling refund {number}")
        message = f"refund {number} exceeds the limit" if number in bad else ""
        output = "" if message else f"refunded {number}"
        yield span(number, 2, name="refund", kind="TOOL", parent=0, output=output, error=message)


def write(lines: Iterable[dict[str, Any]], path: Path) -> Path:
    """Write the lines into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@contextmanager
def window(lines: Iterable[dict[str, Any]], folder: Path) -> Iterator[Reader]:
    """Open the lines as a window."""
    file = write(lines, folder / "spans.jsonl")
    imported = inputs.write_segments([str(file)], folder / "segments", now_ns=BEGIN * 10**9, arrival="span-time")
    with Reader(imported.segments) as reader:
        yield reader
