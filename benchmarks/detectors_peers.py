"""Side by side on the same spans: time, memory, planted failures found, false findings.

`python -m benchmarks.detectors_peers [TRACES] [--python PATH]`. Peers run as they are shipped, each in a process of its
own of the interpreter at PATH (default: this one); those that are not installed there are skipped and named. To try
all: `pip install --no-deps halo-engine==0.3.5`, what its trace modules import (pydantic, openai, openai-agents,
pandas), `agent-triage`, `ghostspan` and `agent-xray`, in an environment of their own.

Half of the traces are of the fleet that the detectors were made against, half of the one written apart. A trace counts
as found when a tool names it in whatever way, so categories and spans are not asked of peers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from tests.generator.fleet import Truth, fleet
from tests.generator.load import store
from tests.generator.strangers import strangers

# Each reads its files from argv[1], prints one JSON line: {"seconds", "flagged": [trace ids], "note"}.
_TIMED = "import json, sys, time; from pathlib import Path; folder = Path(sys.argv[1]); started = time.monotonic()\n"
PEERS: dict[str, str] = {
    "halo, detectors and verification": """
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.evidence import verify
from tests.generator.load import reader_of
with reader_of([next(folder.glob("segment/*.duckdb"))], threads=2) as reader:
    started = time.monotonic()
    found = verify(reader, run_detectors(reader)).findings
    flagged = {o.trace_id for item in found if item.draft.category != "Broken Telemetry" for o in item.occurrences}
note = f"{len(found)} findings, each with spans and quotes"
""",
    "status ERROR, one query": """
from tests.generator.load import reader_of
with reader_of([next(folder.glob("segment/*.duckdb"))], threads=2) as reader:
    started = time.monotonic()
    rows = reader.query("SELECT DISTINCT trace_id FROM spans WHERE status_code = 'ERROR'")
    flagged = {row["trace_id"] for row in rows}
note = "the traces, no groups"
""",
    "HALO 0.3.5, index build and overview": """
import asyncio
from engine.traces.models.trace_index_config import TraceIndexConfig
from engine.traces.models.trace_query_models import TraceFilters
from engine.traces.trace_index_builder import TraceIndexBuilder
from engine.traces.trace_store import TraceStore
if __name__ == "__main__":
    started = time.monotonic()
    flat = folder / "flat.jsonl"
    index = asyncio.run(TraceIndexBuilder.ensure_index_exists(flat, TraceIndexConfig()))
    overview = TraceStore.load(flat, index).get_overview(TraceFilters())
    flagged = {trace for group in overview.error_taxonomy for trace in group.example_trace_ids}
    groups = f"{len(overview.error_taxonomy)} error groups with their examples"
    note = f"{groups}; {overview.error_trace_count} traces hold an error"
""",
    "agent-triage 0.1.0, OTel adapter": """
from triage.adapters import OTelAdapter
started = time.monotonic()
events, _ = OTelAdapter().load(folder / "spans.json")
flagged = {event.run_id for event in events if not event.action_succeeded}
note = f"{len(events)} events"
""",
    "ghostspan 0.1.0": """
import subprocess
out = folder / "ghostspan.json"
program = str(Path(sys.executable).parent / "ghostspan")
done = subprocess.run(
    [program, str(folder / "otlp.json"), "--format", "otlp", "--no-file", "--json", str(out)],
    capture_output=True,
    text=True,
)
found = json.loads(out.read_text())
found = found["findings"] if isinstance(found, dict) else found
flagged = {example["trace_id"] for item in found for example in item.get("examples", [])}
note = f"{len(found)} findings, three examples each"
""",
    "agent-xray 1.25.4, root causes": """
from agent_xray.adapters import otel
from agent_xray.grader import grade_tasks, load_rules
from agent_xray.root_cause import classify_failures
from agent_xray.schema import AgentTask
started = time.monotonic()
steps = {}
for step in otel.load(folder / "otlp.json"):
    steps.setdefault(step.task_id, []).append(step)
tasks = [
    AgentTask.from_steps(items) if hasattr(AgentTask, "from_steps") else AgentTask(task_id=key, steps=items)
    for key, items in steps.items()
]
grades = grade_tasks(tasks, load_rules())
causes = classify_failures(tasks, grades)
flagged = {cause.task_id for cause in causes}
note = f"{len(causes)} tasks with a root cause"
""",
}
_TAIL = """
if __name__ == "__main__":
    print(json.dumps({"seconds": time.monotonic() - started, "flagged": sorted(flagged), "note": note}))
"""

# Runs a command; prints the last line that it printed, and its peak memory in MiB.
_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "")
print(done.stderr[-300:], file=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def any_value(value: Any) -> dict[str, Any]:
    """Write a value as OTLP/JSON does."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": any_value(item)} for key, item in value.items()]}}
    return {"stringValue": str(value)}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Write attributes as OTLP/JSON does."""
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def otlp(span: Span) -> dict[str, Any]:
    """Write one span as OTLP/JSON does."""
    return {
        "traceId": span.trace_id, "spanId": span.span_id, "parentSpanId": span.parent_span_id,
        "name": span.name, "kind": 1,
        "startTimeUnixNano": str(span.start_unix_nano), "endTimeUnixNano": str(span.end_unix_nano),
        "attributes": pairs(span.attributes),
        "status": {"code": ("UNSET", "OK", "ERROR").index(span.status_code), "message": span.status_message},
        "events": [
            {"timeUnixNano": str(e.time_unix_nano), "name": e.name, "attributes": pairs(e.attributes)}
            for e in span.events
        ],
    }  # fmt: skip


def iso(nano: int) -> str:
    """Write a time as HALO's flat lines have it."""
    from halo_worker.report.model import iso_nano

    return iso_nano(nano)


def flat(span: Span) -> dict[str, Any]:
    """Write one span as HALO's flat line; structured values as JSON text."""
    plain = {k: v if isinstance(v, (str, int, float, bool)) else json.dumps(v) for k, v in span.attributes.items()}
    return {
        "trace_id": span.trace_id, "span_id": span.span_id, "parent_span_id": span.parent_span_id,
        "name": span.name, "kind": "SPAN_KIND_INTERNAL",
        "start_time": iso(span.start_unix_nano), "end_time": iso(span.end_unix_nano or span.start_unix_nano),
        "status": {"code": f"STATUS_CODE_{span.status_code}", "message": span.status_message},
        "resource": {"attributes": {"service.name": span.scope.service_name}},
        "scope": {"name": span.scope.name, "version": ""}, "attributes": plain,
    }  # fmt: skip


def named(span: Span) -> dict[str, Any]:
    """Write what agent-triage reads of a span."""
    return {
        "span_id": span.span_id, "trace_id": span.trace_id, "name": span.name,
        "status": {"code": span.status_code}, "attributes": {},
    }  # fmt: skip


def generate(traces: int, folder: Path) -> list[Truth]:
    """Write the same spans in every form that a tool reads; return the truth."""
    truths: list[Truth] = []
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    scopes: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []

    def spans() -> Iterator[Span]:
        for request, truth in fleet(traces // 2, seed=31):
            truths.append(truth)
            yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans
        for made, truth in strangers(traces - traces // 2, seed=32):
            truths.append(truth)
            yield from made

    def written() -> Iterator[Span]:
        with (folder / "flat.jsonl").open("w", encoding="utf-8") as lines:
            for span in spans():
                lines.write(json.dumps(flat(span)) + "\n")
                key = f"{span.scope.service_name}|{span.scope.name}"
                scopes[key] = span.scope
                groups[key].append(otlp(span))
                listed.append(named(span))
                yield span

    store(written(), folder / "segment")
    whole = [
        {
            "resource": {"attributes": pairs(scopes[key].resource_attributes)},
            "scopeSpans": [{"scope": {"name": scopes[key].name}, "spans": items}],
        }
        for key, items in groups.items()
    ]
    (folder / "otlp.json").write_text(json.dumps({"resourceSpans": whole}), encoding="utf-8")
    (folder / "spans.json").write_text(json.dumps({"spans": listed}), encoding="utf-8")
    return truths


def run(name: str, python: str, folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Run one tool in a process of its own; give what it printed and its peak memory, or why it did not run."""
    script = folder / "peer.py"
    script.write_text(_TIMED + PEERS[name] + _TAIL, encoding="utf-8")
    mine = name.startswith(("halo,", "status"))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, sys.executable if mine else python, str(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if len(lines) < 2 or not lines[0].startswith("{"):
        return None, (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return json.loads(lines[0]), f"{float(lines[1]):.0f} MiB"


def main() -> None:
    """Generate, run each, score, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("traces", nargs="?", type=int, default=4000)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        truths = generate(options.traces, folder)
        planted = defaultdict(list)
        for truth in truths:
            if truth.kind == "planted":
                planted[truth.mode].append(truth.trace_id)
        clean = {truth.trace_id for truth in truths if truth.kind != "planted"}
        hard = {truth.trace_id for truth in truths if truth.kind == "negative"}
        size = (folder / "otlp.json").stat().st_size >> 20
        print(
            f"{len(truths)} traces, {size} MiB of OTLP/JSON, {len(planted)} modes planted, "
            f"{len(clean)} clean traces, {len(hard)} of them hard"
        )
        print(f"{'':<40}{'seconds':>9}{'peak':>10}{'recall':>8}{'modes':>7}{'false/1000':>12}{'hard hit':>10}  note")
        for name in PEERS:
            result, memory = run(name, options.python, folder)
            if result is None:
                print(f"{name:<40}  skipped: {memory[:100]}")
                continue
            flagged = set(result["flagged"])
            recalls = [sum(trace in flagged for trace in ids) / len(ids) for ids in planted.values()]
            found = sum(share >= 0.5 for share in recalls)
            wrong = 1000 * len(flagged & clean) / len(clean)
            print(
                f"{name:<40}{result['seconds']:>9.2f}{memory:>10}{sum(recalls) / len(recalls):>8.2f}"
                f"{found:>4}/{len(planted)}{wrong:>12.1f}{len(flagged & hard) / len(hard):>10.2f}  {result['note']}"
            )


if __name__ == "__main__":
    main()
