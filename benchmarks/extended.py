"""What takes longer than the gate may: .ci/extended [--list] [--write] [STEP …]

Kills, fuzzing and random runs at length, a collector stopped for a minute, the larger benchmarks. Prints a table of
what each step found and how long it took; `--write` also puts it into benchmarks/README.md. Exits 1 when one failed.

A step is an entry of STEPS: anything that ends with an exit code can be one. Its result in the table are those lines of
its output that match `shows`, else the last one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import watched

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "benchmarks" / "README.md"
BEGIN, END = "<!-- extended: begin -->\n", "<!-- extended: end -->\n"
STEP_SECONDS = 3600  # after which a step is killed and has failed
LOOK_SECONDS = 2.0  # between two looks at the memory of a step: seldom, for a look takes time from what is measured
SHOWN = 400  # characters of a step's own words in the table


@dataclass(frozen=True, slots=True)
class Step:
    """A question, and the command that answers it; `python` in it is that of this environment."""

    asks: str
    command: str
    shows: str = ""


STEPS = {
    "kills": Step(
        "kill -9 of the spool's writer and of the loader, 100 times",
        "python -m benchmarks.durability kills --rounds 100",
    ),
    "receivers": Step(
        "kill -9 of whole receivers under gRPC load, 10 times",
        "python -m benchmarks.durability receivers --receivers 10",
    ),
    "restart": Step("a start that finds a backlog", "python -m benchmarks.durability restart --backlog 100"),
    "merge": Step("small segments into one", "python -m benchmarks.durability merge --segments 12", r"^merge"),
    "day": Step("every test that knows a date, on a leap day", "python -m tests.other_days leap-day-whole"),
    "long": Step("more of the same than the gate has time for", "python -m pytest -q -n 2 -m long"),
    "days": Step("the dated tests on further days", "python -m tests.other_days a-year-ahead clocks-forward"),
    "stopped": Step(
        "a receiver stopped for a minute, a collector in front",
        "HALO_PAUSE_SECONDS=60 python -m pytest -q tests/end_to_end/test_collector.py -k stopped",
    ),
    "fuzz": Step(
        "6,000 mutated captures and random bytes",
        "HALO_FUZZ_REQUESTS=6000 python -m pytest -q tests/receiver/test_fuzz.py",
    ),
    "soak": Step("a receiver for half an hour: what grows?", "python -m benchmarks.soak 1800", r"^\||acknowledged"),
    "parsers": Step(
        "parsers of a stranger's bytes under atheris, a minute each", "python -m benchmarks.fuzz 60", r"^\|"
    ),
    "scanner": Step(
        "random spans and messages, scanner and reference compared",
        "HALO_FUZZ=3000 python -m pytest -q -n 2 tests/receiver/test_wire.py tests/receiver/test_wire_member.py"
        " tests/receiver/test_wire_shapes.py tests/receiver/test_wire_messages.py"
        " tests/receiver/test_message_summary.py",
    ),
    "models": Step(
        "8,000 random models: is a limit passed, is there always an outcome?",
        "HALO_PROPERTY_RUNS=8000 HALO_PROPERTY_SEED=1000 python -m pytest -q tests/worker/rlm/test_property.py",
    ),
    "analysts": Step(
        "200 random analysts over whole runs",
        "HALO_PROPERTY_RUNS=200 HALO_PROPERTY_SEED=1110 python -m pytest -q tests/worker/analysis/test_property.py",
    ),
    "faults": Step("what a provider's fault does to a run", "python -m benchmarks.faults", r"^\| never comes"),
    "subcalls": Step("200 sub-calls, 20 at a time", "python -m benchmarks.subcalls", r"of ideal"),
    "fleet": Step("planted failures of the fleet", "python -m benchmarks.detectors 6000 2 fleet", r"macro|clean"),
    "strangers": Step(
        "planted failures of strangers", "python -m benchmarks.detectors 6000 2 strangers", r"macro|clean"
    ),
    "window": Step("the detectors over a million spans", "python -m benchmarks.detectors_scale 1000000", r"CPU a span"),
    "tools": Step("the tools over a million spans", "python -m benchmarks.analysis_scale --spans 1000000", r"nowhere"),
    "memory": Step("memory of a run with the engine", "python -m benchmarks.engine_memory 100000", r"^\| \d"),
    "reports": Step("writing and reading reports", "python -m benchmarks.reports"),
    "ingest": Step("what the receiver takes", "python -m benchmarks.ingest", r"null|CPU|p50|Seal"),
    "clickhouse": Step(
        "a window of ClickHouse, scanner and reference", "python -m benchmarks.clickhouse", r"spans/CPU"
    ),
    "lake": Step(
        "the lake beside storing",
        "PYTHONPATH=$(python3 -m tests.lake --folder) python -m benchmarks.lake",
        r"CPU µs|publish / store",
    ),
    "stores": Step(
        "the engine of ClickHouse and a Phoenix, where HALO_CHDB and HALO_PHOENIX name their interpreters",
        "python -m pytest -q -m peer tests/worker/test_clickhouse.py tests/worker/test_pull.py",
    ),
    "volume": Step(
        "five million spans, and questions to them", "python -m benchmarks.ingest memory questions", r"spans|ms"
    ),
}


def run(name: str) -> tuple[str, bool]:
    """Run one step; return its row of the table, and whether it passed."""
    step = STEPS[name]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    argv = ["sh", "-c", step.command]
    done = watched.run(argv, env={**os.environ, "PATH": path}, cwd=REPOSITORY, seconds=STEP_SECONDS, every=LOOK_SECONDS)
    if done.code:
        print(f"--- {name} exited with {done.code}: {step.command}\n{done.output[-8000:]}\n---", file=sys.stderr)
    result = said(step, done.output) if not done.code else f"**FAILED**, exit code {done.code}"
    figures = f"{done.seconds:.0f} | {done.cpu_seconds:.0f} | {done.peak_bytes / 2**20:.0f}"
    return f"| {name} | {step.asks} | {result} | {figures} |", not done.code


def said(step: Step, output: str) -> str:
    """Return a step's own words: the lines that `shows` finds, else the last; in one cell of a table."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    shown = [line for line in lines if re.search(step.shows, line)] if step.shows else lines[-1:]
    text = "; ".join(line.strip("| ").replace("|", "·") for line in shown)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"


def heading() -> str:
    """Say what was measured, when and on what; and the table's head."""
    argv = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} "
        f"at the start, Python {sys.version.split()[0]}.\n\n"
        "| step | question | result | wall, s | CPU, s | peak, MiB |\n|---|---|---|---|---|---|"
    )


def write(table: str) -> None:
    """Put the table where the last one stands in the README."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{README} has lost its markers"
    README.write_text(f"{before}{BEGIN}{table}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run the steps that are named, or all."""
    parser = argparse.ArgumentParser(prog=".ci/extended", description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md, for all steps")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    given = parser.parse_args()
    if unknown := sorted(set(given.steps) - set(STEPS)):
        parser.error(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if given.list:
        for name, step in STEPS.items():
            print(f"{name:10} {step.asks}\n{'':10} {step.command}")
        return 0
    if given.write and given.steps:
        parser.error("--write is for all steps: the README's table is of one run")
    rows, passed = [heading()], True
    print(rows[0], flush=True)
    for name in given.steps or STEPS:
        row, right = run(name)
        rows.append(row)
        passed = passed and right
        print(row, flush=True)
    if given.write:
        write("\n".join(rows))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
