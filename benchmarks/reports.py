"""What a report costs: its size and the time to write it, by the number of findings; and the demo.

    python -m benchmarks.reports                 # 0, 10, 50 and 250 findings, each with a trace of 60 spans drawn
    python -m benchmarks.reports --findings 250 --keep report.html
    python -m benchmarks.reports --demo          # `halo demo` from nothing, timed

Findings are those of the tests, with texts as long as detectors write them. Times are the best of three runs in one
process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from halo_worker.report import slack
from halo_worker.report.archive import Archive
from halo_worker.report.html import render_html, render_index
from halo_worker.report.markdown import render_markdown
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Breakdown, Evidence, Report, SpanRef, Totals
from halo_worker.report.page_data import Glance, Scene, TraceRow, quote_key
from halo_worker.report.states import Point
from tests.builders import DAY, START, finding, report

AGENTS = ("support-agent", "handbook-assistant", "research-supervisor", "patch-agent")
SEVERITIES = ("critical", "high", "medium", "low")
STATES = ("new", "ongoing", "worsening", "improving", "regressed")
SPANS = 60  # of each drawn trace
DRAWN = 30  # traces, as `halo run` draws


def sample(findings: int) -> tuple[Report, Scene]:
    """Make a report of so many findings, each with three quotes, eight breakdowns and a past of ten windows."""
    made, traces, spans, excerpts, history = [], {}, {}, {}, {}
    for number in range(findings):
        trace, agent = f"{number:032x}", AGENTS[number % len(AGENTS)]
        quotes = [
            Evidence(
                trace_id=trace, span_id=f"{index:016x}", field="error_message",
                quote=f"refund amount {number}{index}00.00 exceeds the order total of {number}{index}.00 EUR",
            )
            for index in range(3)
        ]  # fmt: skip
        issue = f"HALO-{number:08x}"
        made.append(
            finding(
                issue, title=f"tool_{number} is given input it cannot use", source="detector",
                description="The call fails, and nothing later in the trace makes up for it. " * 3,
                severity=SEVERITIES[number * len(SEVERITIES) // max(1, findings)], state=STATES[number % len(STATES)],
                evidence=quotes, counter_evidence=quotes[:1],
                origin_span=SpanRef(trace_id=trace, span_id=f"{3:016x}"),
                symptom_span=SpanRef(trace_id=trace, span_id=f"{4:016x}"),
                breakdown=[
                    Breakdown(dimension=dim, value=value, traces=19, of=94, rate=0.2, risk_ratio=4.2, q_value=1e-4)
                    for dim, value in (("agent", agent), ("tool", f"tool_{number}"), ("version", "2.4.0"))
                ],
            )
        )  # fmt: skip
        excerpts |= {quote_key(quote): f"… the tool said: {quote.quote}, and then stopped …" for quote in quotes}
        history[issue] = [Point(f"r{day}", START + day * DAY, 5 + day, 400) for day in range(10)]
        for index in (3, 4):
            spans[f"{trace}/{index:016x}"] = Glance(name="chat", agent=agent, given="x" * 400, gave="y" * 400)
        if number < DRAWN:
            traces[trace] = [
                TraceRow(
                    span_id=f"{index:016x}", parent_span_id=f"{index // 3:016x}" if index else None,
                    start_ns=START + index, duration_ns=10**9, failed=index == 4,
                    name=f"step {index}", span_type="llm" if index % 2 else "tool",
                )
                for index in range(SPANS)
            ]  # fmt: skip
    timeline = [
        {"start": "2026-11-24T06:00:00.000000000Z", "traces": 500, "affected_traces": 20, "input_tokens": 90_000}
    ] * 24
    totals = Totals(traces=12_480, spans=90_000, affected_traces=512, cost_usd=412.0, timeline=timeline)
    return report(*made, totals=totals), Scene(traces=traces, spans=spans, excerpts=excerpts, history=history)


def best(work: Callable[[], object], times: int = 3) -> float:
    """Return the shortest of some runs, in seconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def measure(findings: int, keep: Path | None = None) -> dict[str, float]:
    """Write one report in every form; sizes in kB, times in ms."""
    made, scene = sample(findings)
    page = render_html(made, scene, index="../index.html")
    if keep is not None:
        keep.write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        documents = {"report.html": page, "report.md": render_markdown(made), "page.json": scene.model_dump_json()}
        publish = best(lambda: archive.publish(made, documents), times=1)
    return {
        "findings": findings,
        "html_kb": len(page.encode()) / 1e3,
        "html_ms": best(lambda: render_html(made, scene)) * 1e3,
        "markdown_kb": len(documents["report.md"].encode()) / 1e3,
        "markdown_ms": best(lambda: render_markdown(made)) * 1e3,
        "slack_ms": best(lambda: slack.message(made)) * 1e3,
        "publish_ms": publish * 1e3,
    }


def memory(reports: int, findings: int) -> dict[str, float]:
    """Read an archive of so many reports back, as every run does; and write the index over them."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        made, _ = sample(findings)
        for number in range(reports):
            end = START + number * DAY
            window = made.window.model_copy(update={"start": end - DAY, "end": end})
            named = {"id": f"{20260000 + number}T000000Z-aaaaaa", "window": window, "created_at": end}
            archive.publish(made.model_copy(update=named), {})
        reading = best(lambda: Archive(Path(folder)).reports(), times=1)
        read, _ = archive.reports()
        issues = IssueMemory(read).issues.values()
        return {
            "reports": reports,
            "read_s": reading,
            "memory_s": best(lambda: IssueMemory(read), times=1),
            "index_ms": best(lambda: render_index(read, issues), times=1) * 1e3,
        }


def demo() -> dict[str, float]:
    """Time `halo demo` from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "halo_worker", "demo", "--data-dir", f"{folder}/demo"]
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - began
        [page] = sorted(Path(folder).glob("demo/reports/*/report.html"))[-1:]
        return {"demo_s": seconds, "html_kb": page.stat().st_size / 1e3}


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--findings", type=int, nargs="*", default=[0, 10, 50, 250])
    parser.add_argument("--keep", type=Path, help="write the last page there")
    parser.add_argument("--reports", type=int, default=365, help="in the archive that is read back; 0 for none")
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args(given)
    rows = [measure(number, options.keep) for number in options.findings]
    rows += [memory(options.reports, 12)] if options.reports else []
    rows += [demo()] if options.demo else []
    for row in rows:
        print("  ".join(f"{name} {value:,.1f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
