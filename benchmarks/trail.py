"""TRAIL, without a model: pairs of span and category against the gold, by half, beside the trivial baselines.

`python -m benchmarks.trail [SHARED]`, with the folder that holds `benchmarks/trail-dev` (default: $HALO_SHARED).
Traces are told apart by a hash of their id: `looked at` is what may be read when a detector is thought about,
`held out` is not. Nothing but figures is printed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import Draft
from tests.generator.load import reader_of, spans_of, store

# What has no leaf of its own in TRAIL, as the nearest; speed and telemetry are not among its errors.
LEAVES = {"Unhandled Error": "Formatting Errors", "Data Leak": "Instruction Non-compliance"}
NOT_IN_TRAIL = ("Latency Outlier", "Broken Telemetry")
Pairs = dict[str, set[tuple[str, str]]]


def held_out(trace_id: str) -> bool:
    """Say to which half a trace belongs."""
    return int(hashlib.sha256(f"half:{trace_id}".encode()).hexdigest()[0], 16) >= 8


def scorer(folder: Path) -> ModuleType:
    """Load the benchmark's own scorer."""
    spec = importlib.util.spec_from_file_location("score_trail", folder / "score_trail.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predictions(draft: Draft) -> Iterator[dict[str, str | None]]:
    """Give the span to blame of every occurrence, with a leaf of TRAIL."""
    for finding in draft.findings:
        if finding.category not in NOT_IN_TRAIL:
            category = LEAVES.get(finding.category, finding.category)
            for item in finding.occurrences:
                yield {"trace_id": item.trace_id, "span_id": item.span_id, "category": category}


def main() -> None:
    """Detect, score each half, print."""
    shared = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["HALO_SHARED"]) / "benchmarks"
    trail = scorer(shared)
    gold = trail.load_gold(shared / "trail-dev" / "gold.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        segment = store(spans_of([shared / "trail-dev" / "traces.otlp.jsonl.gz"]), Path(folder))
        with reader_of([segment]) as reader:
            draft = run_detectors(reader)
            calls = reader.query("SELECT trace_id, span_id FROM _s WHERE span_type = 'llm'")
    said = list(predictions(draft))
    commonest = Counter(c for pairs in gold.values() for _, c in pairs).most_common(1)[0][0]
    every = [row | {"category": commonest} for row in calls]
    shown = ("pair_precision", "pair_recall", "pair_f1", "category_f1_weighted", "location_accuracy", "joint_accuracy",
             "predictions_per_trace", "traces_without_predictions")  # fmt: skip
    print(f"{'':<34}{'traces':>7}" + "".join(f"{name.replace('predictions', 'said')[:14]:>16}" for name in shown))
    for half, wanted in (("looked at", (False,)), ("held out", (True,)), ("all", (False, True))):
        part = {trace: pairs for trace, pairs in gold.items() if held_out(trace) in wanted}
        for name, rows in (("halo, no model", said), ("every model call, commonest", every)):
            figures = trail.score(part, trail.collect(iter(rows), part)[0])
            print(f"{half + ', ' + name:<34}{len(part):>7}" + "".join(f"{figures[name]:>16.3f}" for name in shown))
    looked = {trace: pairs for trace, pairs in gold.items() if not held_out(trace)}
    for category, hits, guess, real in trail.by_category(looked, trail.collect(iter(said), looked)[0]):
        print(f"  looked at, {category:<36}{hits:>4} hit {guess:>4} said {real:>4} gold")
    by_detector: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for finding in draft.findings:
        for item in finding.occurrences:
            if item.trace_id in looked:
                by_detector[finding.detector_name] += 1
                leaf = LEAVES.get(finding.category, finding.category)
                right[finding.detector_name] += (item.span_id, leaf) in looked[item.trace_id]
    for name, count in by_detector.most_common():
        print(f"  looked at, {name:<36}{right[name]:>4} hit {count:>4} said")


if __name__ == "__main__":
    main()
