"""The precision of each detector on the labelled sets, written to `halo_worker/analysis/detectors/confidence.toml`.

`python -m benchmarks.calibrate [FOLDER] [--write]`. A hit (one finding in one trace) is right where the labels of that
trace allow its category (a planted mode, a labelled error), or name one of its spans. Where a set only says which runs
failed, a hit on a failed run is right, and the set counts only if it has runs of both kinds. Precision is taken in each
set and averaged over sets. For each set it is printed how well the confidence from the other sets does on it (Brier
score), against the prior alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.detector_sets import SEED, TRACES, detect, rows_of
from benchmarks.trail import LEAVES, NOT_IN_TRAIL
from halo_worker.analysis import calibration
from halo_worker.analysis.draft import DraftFinding
from halo_worker.report.statistics import wilson

BOTH_KINDS = 0.2  # least share of good runs, and of failed ones, in a set that says only that
Counts = dict[str, dict[str, tuple[int, int]]]  # detector → set → (right, hits)


def _planted(folder: Path) -> Iterator[tuple[str, bool]]:
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, str(folder / "planted.py"), "--seed", str(SEED), "--traces", str(TRACES)]
        subprocess.run([*command, "--prevalence", "high", "--out", made], check=True, capture_output=True)
        draft, _, _ = detect([Path(made, "traces.otlp.jsonl")])
        manifest = json.loads(Path(made, "manifest.json").read_text())
    allowed: dict[str, set[str]] = defaultdict(set)
    for row in manifest["failures"]:
        allowed[row["trace_id"]] |= {*manifest["modes"][row["mode"]]["categories_ok"], *_spans(row)}
    yield from _judged(draft.findings, allowed)


def _spans(row: dict[str, Any]) -> set[str]:
    return {*row.get("origin_span_ids", ()), *row.get("symptom_span_ids", ())}


def _judged(findings: list[DraftFinding], allowed: Mapping[str, set[str]]) -> Iterator[tuple[str, bool]]:
    """Say of each hit whether the labels of its trace have its category or one of its spans."""
    for finding in findings:
        said: dict[str, set[str]] = {}
        for item in finding.occurrences:
            said.setdefault(item.trace_id, {LEAVES.get(finding.category, finding.category)})
            said[item.trace_id] |= {span for span in (item.origin_span_id, item.symptom_span_id) if span}
        for trace, claims in said.items():
            yield finding.detector_name, bool(claims & allowed.get(trace, set()))


def _labelled(folder: Path) -> Iterator[tuple[str, bool]]:
    gold: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows_of(folder / "gold.jsonl"):
        gold[str(row["trace_id"])].append(row)
    rewards = [rows[0]["reward"] for rows in gold.values() if "reward" in rows[0]]
    decisive = any("step" in rows[0] for rows in gold.values())  # one label a run: what else is wrong is not said
    by_category = not rewards and not decisive
    mixed = bool(rewards) and BOTH_KINDS <= sum(reward == 1 for reward in rewards) / len(rewards) <= 1 - BOTH_KINDS
    if not mixed and not by_category:
        return
    findings = [
        one
        for one in detect([folder / "traces.otlp.jsonl.gz"])[0].findings
        if one.category not in NOT_IN_TRAIL or not by_category
    ]
    if by_category:
        labels = {t: {str(row[name]) for row in rows for name in ("category", "span_id")} for t, rows in gold.items()}
        yield from _judged(findings, labels)
        return
    for finding in findings:
        for trace in {item.trace_id for item in finding.occurrences}:
            yield finding.detector_name, gold[trace][0]["reward"] == 0


def counted(folder: Path) -> Counts:
    """Count the hits of each detector in each set, and those that are right."""
    counts: Counts = defaultdict(dict)
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, right in (_planted if (place / "planted.py").exists() else _labelled)(place):
            good, hits = counts[name].get(place.name, (0, 0))
            counts[name][place.name] = (good + right, hits + 1)
    return counts


def _text(counts: Counts) -> str:
    lines = ["# Made by `python -m benchmarks.calibrate --write`: the precision of each detector on labelled sets."]
    for name, sets in sorted(counts.items()):
        right, hits = map(sum, zip(*sets.values(), strict=True))
        low, high = wilson(right, hits)
        precision = sum(good / of for good, of in sets.values()) / len(sets)
        lines += [
            f"\n[{name}]",
            f"precision = {precision:.3f}  # averaged over sets",
            f"hits = {hits}",
            f"low = {low:.3f}",
            f"high = {high:.3f}",
            f"sets = {json.dumps(sorted(sets))}",
        ]
    return "\n".join(lines) + "\n"


def _left_out(counts: Counts, name: str) -> None:
    """Score the confidence from the other sets on one."""
    squares, stated, n = 0.0, 0.0, 0
    prior = calibration.PRIOR
    for sets in counts.values():
        others = [pair for place, pair in sets.items() if place != name]
        if name in sets:
            precision = sum(good / of for good, of in others) / len(others) if others else prior
            expected = calibration.shrunk(precision, sum(of for _, of in others))
            right, hits = sets[name]
            squares += right * (1 - expected) ** 2 + (hits - right) * expected**2
            stated += right * (1 - prior) ** 2 + (hits - right) * prior**2
            n += hits
    print(f"{name:<16} {n:>5} hits: Brier {squares / n:.3f}, with the prior alone {stated / n:.3f}")


def main() -> None:
    """Count, print, and with `--write` keep."""
    words = sys.argv[1:]
    folder = Path(words[0]) if words and Path(words[0]).is_dir() else Path(os.environ["HALO_SHARED"], "benchmarks")
    counts = counted(folder)
    text = _text(counts)
    for name in sorted({name for sets in counts.values() for name in sets}):
        _left_out(counts, name)
    if "--write" in words:
        calibration.FILE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
