"""The detectors on labelled sets by others: what each set can say of them, its macro over sets, and its worst set.

`python -m benchmarks.detector_sets [FOLDER] [SET …]`, with the folder that holds the sets (default:
$HALO_SHARED/benchmarks). A set is a folder with `traces.otlp.jsonl.gz` and `gold.jsonl`, or with a generator and its
scorer (`planted.py`, `score_planted.py`). Nothing but figures is printed: no text of a trace, no id.

The figures, each where the labels allow it (else a dash):
    recall      failed runs, or planted failures by mode (macro), that some finding names
    category    the same, by a finding of an accepted category
    spans       labelled (span, category) pairs: F1; of runs with one decisive step, the share whose step is named
    false       runs known to be good that some finding names, in 1,000
    hard        hard negatives that some finding names, as a share
    AUC         of the outcome: does what is flagged more surely go with the reward 0?
    per cause   findings for one planted mode, and their purity
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.trail import LEAVES, NOT_IN_TRAIL
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import Draft
from tests.generator.load import reader_of, spans_of, store

SEED, TRACES = 7301, 800  # of the generator
SHOWN = ("recall", "category", "spans", "false", "hard", "AUC", "per cause", "purity", "findings")
FLAG_LEFT_BEHIND = "\\n\\n[error] tool reported failure"  # as JSON writes it
BETTER_LOW = ("false", "hard", "per cause")
Figures = dict[str, float]


@dataclass(slots=True)
class Set:
    """What is known of a set's runs: their gold rows by trace, and the findings about them."""

    gold: Mapping[str, list[dict[str, Any]]]
    draft: Draft
    suspicion: dict[str, float] = field(default_factory=dict)  # by trace, 0 to 1: how surely something is wrong with it

    def __post_init__(self) -> None:
        for finding in self.draft.findings:
            if finding.category not in NOT_IN_TRAIL:
                for item in finding.occurrences:
                    doubt = 1 - self.suspicion.get(item.trace_id, 0.0)
                    self.suspicion[item.trace_id] = 1 - doubt * (1 - finding.confidence)

    def pairs(self, trace_id: str) -> set[tuple[str | None, str]]:
        """Return the spans and categories that findings name in a trace: origins as well as symptoms."""
        return {
            (span, LEAVES.get(finding.category, finding.category))
            for finding in self.draft.findings
            for item in finding.occurrences
            if item.trace_id == trace_id
            for span in (item.origin_span_id, item.symptom_span_id)
            if span
        }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, packed or not."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines if line.strip()]


def detect(paths: Iterable[Path]) -> Draft:
    """Store trace files and run the detectors over them."""
    with tempfile.TemporaryDirectory() as folder, reader_of([store(spans_of(paths), Path(folder))]) as reader:
        return run_detectors(reader)


def auc(bad: list[float], good: list[float]) -> float:
    """Return the probability that a failed run is more suspicious than a good one; ties count half."""
    if not bad or not good:
        return math.nan
    return sum((a > b) + (a == b) / 2 for a in bad for b in good) / (len(bad) * len(good))


def share(numbers: Iterable[bool]) -> float:
    """Return how many of some are true, as a share."""
    every = list(numbers)
    return sum(every) / len(every) if every else math.nan


def labelled(folder: Path) -> Figures:
    """Score a set whose gold has rewards, decisive steps or labelled spans."""
    gold: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows_of(folder / "gold.jsonl"):
        gold[row["trace_id"]].append(row)
    known = Set(gold, detect([folder / "traces.otlp.jsonl.gz"]))
    good = [trace for trace, rows in gold.items() if rows[0].get("reward") == 1]
    failed = [trace for trace in gold if trace not in set(good)]
    flagged = known.suspicion
    found: Figures = {
        "recall": share(trace in flagged for trace in failed),
        "false": 1000 * share(trace in flagged for trace in good),
        "AUC": auc([flagged.get(trace, 0.0) for trace in failed], [flagged.get(trace, 0.0) for trace in good]),
        "findings": len(known.draft.findings),
    }
    steps = [(trace, rows[0]) for trace, rows in gold.items() if rows[0].get("step") is not None]
    if steps:
        found["spans"] = share(row["span_id"] in {span for span, _ in known.pairs(trace)} for trace, row in steps)
    elif any(row.get("span_id") for rows in gold.values() for row in rows):
        found |= _pairs(known)
    return found


def _pairs(known: Set) -> Figures:
    real = {t: {(row["span_id"], row["category"]) for row in rows if row["span_id"]} for t, rows in known.gold.items()}
    said = {trace: known.pairs(trace) for trace in real}
    hits = sum(len(real[trace] & said[trace]) for trace in real)
    labels, claims = sum(map(len, real.values())), sum(map(len, said.values()))
    categories = [
        category in {name for _, name in said[trace]} for trace, pairs in real.items() for _, category in pairs
    ]
    return {"spans": 2 * hits / (labels + claims) if labels + claims else math.nan, "category": share(categories)}


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def planted(folder: Path) -> Figures:
    """Generate, detect, and score by the set's own scorer."""
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, str(folder / "planted.py"), "--seed", str(SEED), "--traces", str(TRACES)]
        subprocess.run([*command, "--prevalence", "high", "--out", made], check=True, capture_output=True)
        draft = detect([Path(made, "traces.otlp.jsonl")])
        manifest = json.loads(Path(made, "manifest.json").read_text())
    report = {
        "findings": [
            {
                "category": LEAVES.get(finding.category, finding.category),
                "title": finding.detector_name,
                "affected": [
                    {
                        "trace_id": item.trace_id,
                        "span_ids": [*filter(None, (item.origin_span_id, item.symptom_span_id))],
                    }
                    for item in finding.occurrences
                ],
            }
            for finding in draft.findings
        ]
    }
    scored = _module(folder / "score_planted.py").score(manifest, report, folder, {})
    total, modes = scored["summary"], scored["modes"].values()
    per_cause = [row["findings"] for row in modes if row["findings"]]
    weak = sorted(scored["modes"].items(), key=lambda item: item[1]["recall_cat"])[:6]
    print("weakest modes:", ", ".join(f"{name} {row['recall_trace']}/{row['recall_cat']}" for name, row in weak))
    print("hard negatives hit:", {kind: row["hit"] for kind, row in scored["hard_negatives"].items() if row["hit"]})
    return {
        "recall": total["macro_recall_trace"],
        "category": total["macro_recall_cat"],
        "false": total["fp_per_1000_healthy"],
        "hard": total["hard_negative_hit_rate"],
        "per cause": sum(per_cause) / len(per_cause) if per_cause else math.nan,
        "purity": total["purity"],
        "findings": len(draft.findings),
    }


def failed_results(folder: Path) -> Figures:
    """Score the recogniser of failed results against hidden flags of tools (`tool_errors.jsonl`).

    The conversion left the flag behind as a line of its own at the end of each such result: it is taken out.
    """
    flags = {(row["trace_id"], row["span_id"]) for row in rows_of(folder / "tool_errors.jsonl")}
    with tempfile.TemporaryDirectory() as made:
        bare = Path(made, "bare.otlp.jsonl")
        with gzip.open(folder / "traces.otlp.jsonl.gz", "rt") as packed:
            bare.write_text(packed.read().replace(FLAG_LEFT_BEHIND, ""))
        return _failed_results(bare, flags)


def _failed_results(traces: Path, flags: set[tuple[str, str]]) -> Figures:
    with tempfile.TemporaryDirectory() as made, reader_of([store(spans_of([traces]), Path(made))]) as reader:
        run_detectors(reader)
        failed = "SELECT trace_id, span_id FROM _s WHERE span_type = 'tool' AND failed"
        rows = reader.query(f"{failed} UNION SELECT trace_id, span_id FROM failed_results WHERE NOT told")
    said = {(row["trace_id"], row["span_id"]) for row in rows}
    hits = len(said & flags)
    return {"recall": hits / len(flags), "precision": hits / len(said) if said else math.nan}


def _row(name: str, figures: Mapping[str, float]) -> str:
    cells = (figures.get(column, math.nan) for column in SHOWN)
    return f"{name:<18}" + "".join(f"{'-':>11}" if math.isnan(x) else f"{x:>11.3f}" for x in cells)


def main() -> None:
    """Score each set, then print the table with the macro and the worst of the sets."""
    words = sys.argv[1:]
    folder = Path(words.pop(0)) if words and Path(words[0]).is_dir() else Path(os.environ["HALO_SHARED"], "benchmarks")
    table: dict[str, Figures] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and (not words or path.name in words)):
        table[place.name] = (planted if (place / "planted.py").exists() else labelled)(place)
        if (place / "tool_errors.jsonl").exists():
            print(f"{place.name}, failed results of tools:", failed_results(place))
    print(f"\n{'set':<18}" + "".join(f"{column:>11}" for column in SHOWN))
    for name, figures in table.items():
        print(_row(name, figures))
    columns = {c: [f[c] for f in table.values() if not math.isnan(f.get(c, math.nan))] for c in SHOWN}
    print(_row("macro over sets", {c: sum(v) / len(v) for c, v in columns.items() if v}))
    print(_row("worst set", {c: (max if c in BETTER_LOW else min)(v) for c, v in columns.items() if v}))


if __name__ == "__main__":
    main()
