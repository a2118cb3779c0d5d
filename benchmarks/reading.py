"""A sample of findings to be read by a person, and the share of them that is of use.

`python -m benchmarks.reading draw OUT [FOLDER] [--seed N] [--rows N]` runs the detectors over the sets of
`benchmarks.detector_sets` (of trail-dev, the half that may be looked at) and writes `OUT/sample.jsonl`: findings on one
trace each, drawn at random, at most three of a detector in a set, the sets in turn. No labels are read. The traces
lie in OUT/SET, a data directory: `halo trace ID --data-dir OUT/SET`. Sets forbid to publish their text: keep OUT out
of the repository.

`python -m benchmarks.reading count OUT` reads `OUT/verdicts.tsv` (number, verdict, reason; tabs between) and prints the
shares by set and by detector, with 95 % intervals (Wilson). Verdicts:

    useful   true, and an engineer would want to know
    wrong    true, but with the wrong cause, category or place
    idle     true, and of no use to anybody
    false    not so
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.detector_sets import SEED, TRACES
from benchmarks.trail import held_out
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import Draft
from halo_worker.report.statistics import wilson
from tests.generator.load import reader_of, spans_of, store

MOST = 3  # findings of one detector in one set
VERDICTS = ("useful", "wrong", "idle", "false")
Row = dict[str, Any]


def _traces(folder: Path, made: Path) -> Path:
    """Return the trace file of a set; one with a generator makes it first."""
    if not (folder / "planted.py").exists():
        return folder / "traces.otlp.jsonl.gz"
    command = [sys.executable, str(folder / "planted.py"), "--seed", str(SEED), "--traces", str(TRACES)]
    subprocess.run([*command, "--prevalence", "high", "--out", str(made)], check=True, capture_output=True)
    return made / "traces.otlp.jsonl"


def _rows(name: str, draft: Draft) -> Iterator[Row]:
    """Yield each finding on each trace that may be looked at."""
    for finding in draft.findings:
        spans: dict[str, list[tuple[str | None, str | None]]] = defaultdict(list)
        for item in finding.occurrences:
            spans[item.trace_id].append((item.origin_span_id, item.symptom_span_id))
        for trace, named in spans.items():
            if name != "trail-dev" or not held_out(trace):
                quotes = [asdict for asdict in map(_quote, finding.evidence) if asdict["trace_id"] == trace]
                yield {
                    "set": name, "detector": finding.detector_name, "category": finding.category,
                    "title": finding.title, "cause": finding.root_cause, "fix": finding.fix_summary,
                    "trace_id": trace, "spans": named, "traces": len(spans), "quotes": quotes,
                }  # fmt: skip


def _quote(evidence: Any) -> Row:
    return {"trace_id": evidence.trace_id, "span_id": evidence.span_id, "quote": evidence.quote}


def drawn(rows: Iterable[Row], wanted: int, seed: int) -> list[Row]:
    """Draw at random, at most MOST of a detector in a set, taking the sets in turn."""
    dice = random.Random(seed)
    strata: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        strata[row["set"]][row["detector"]].append(row)
    waiting = []
    for _, detectors in sorted(strata.items()):
        some = [row for _, of in sorted(detectors.items()) for row in dice.sample(of, min(MOST, len(of)))]
        dice.shuffle(some)
        waiting.append(some)
    sample: list[Row] = []
    while any(waiting) and len(sample) < wanted:
        sample += [some.pop() for some in waiting if some][: wanted - len(sample)]
    return sorted(sample, key=lambda row: (row["set"], row["detector"], row["trace_id"]))


def draw(out: Path, sets: Path, *, seed: int, wanted: int) -> None:
    """Run the detectors over each set, and write the sample."""
    rows: list[Row] = []
    for folder in sorted(path for path in sets.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as made:
            segment = store(spans_of([_traces(folder, Path(made))]), out / folder.name / "segments")
        with reader_of([segment]) as reader:
            found = list(_rows(folder.name, run_detectors(reader)))
        rows += found
        print(f"{folder.name}: {len(found)} findings on a trace, {len({row['detector'] for row in found})} detectors")
    with (out / "sample.jsonl").open("w") as file:
        for number, row in enumerate(drawn(rows, wanted, seed), 1):
            file.write(json.dumps({"number": number, **row}) + "\n")


def count(out: Path) -> None:
    """Print how many of the sample are what."""
    sample = {row["number"]: row for row in map(json.loads, (out / "sample.jsonl").open())}
    lines = [line.split("\t") for line in (out / "verdicts.tsv").read_text().splitlines() if line]
    said = {int(number): verdict for number, verdict, *_ in lines}
    for by in ("set", "detector", ""):
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for number, row in sample.items():
            groups[row.get(by, "all")][said[number]] += 1
        for name, counts in sorted(groups.items(), key=lambda item: item[1]["useful"] / item[1].total()):
            low, high = wilson(counts["useful"], counts.total())
            kinds = "  ".join(f"{verdict} {counts[verdict]:>2}" for verdict in VERDICTS)
            print(f"{name:<34}{kinds}   {counts['useful'] / counts.total():.2f} ({low:.2f} to {high:.2f})")
        print()


def main() -> None:
    """Draw or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("draw", "count"))
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rows", type=int, default=60)
    given = parser.parse_args()
    if given.action == "count":
        return count(given.out)
    sets = given.sets or Path(os.environ["HALO_SHARED"], "benchmarks")
    return draw(given.out, sets, seed=given.seed, wanted=given.rows)


if __name__ == "__main__":
    main()
