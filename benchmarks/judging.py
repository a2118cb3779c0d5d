"""What a model establishes against what the report holds: any endpoint, any OTLP file with gold labels.

    python -m benchmarks.judging TRACES GOLD --routes judge loop            # a scripted model that sends the gold
    python -m benchmarks.judging TRACES GOLD --base-url URL --model NAME    # a real one (OPENAI_API_KEY)

GOLD has a JSON line for each label (`trace_id`, `span_id`, `category`; nulls for a clean trace), or is a manifest of
planted failures. The scripted model shows what the engine loses: it refutes what detectors found, sends the gold as
labels (judge), notes (map) or span lists (direct, loop), each with a quote of the span's own text, and its findings
should be the gold again. Printed are pairs of span and category (precision, recall, F1, over all traces), location and
joint accuracy (recall, mean over traces), calls, tokens and seconds, for the detectors alone, the labels as sent, and
the published report.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker import request as requests
from halo_worker import run
from halo_worker.analysis.categories import category_of
from halo_worker.analysis.tools.steps import ORDER
from halo_worker.config import Settings, load_settings
from tests.generator.load import reader_of, spans_of, store
from tests.scripted_model import Request, Say, ScriptedModel

Pairs = dict[str, set[tuple[str, str]]]  # trace → (span, category)
ROUTES = ("judge", "loop", "direct", "map")
QUOTE_CHARACTERS = 60
NOW_NS = 1_800_000_000 * 10**9
EVERY_HYPOTHESIS = "id, min(trace_id) AS trace FROM hypotheses GROUP BY id ORDER BY id"  # where a prompt lists a part


def gold_of(path: Path) -> Pairs:
    """Read gold labels; of a planted failure the span that caused it."""
    text = path.read_text(encoding="utf-8")
    pairs: Pairs = defaultdict(set)
    if path.suffix == ".json":
        manifest = json.loads(text)
        pairs.update({one: set() for one in manifest["healthy_trace_ids"]})
        for one in manifest["failures"]:
            for span in (one["origin_span_ids"] or one["symptom_span_ids"])[:1]:
                pairs[one["trace_id"]].add((span, one["category"]))
        return pairs
    for row in map(json.loads, text.splitlines()):
        named = {(row["span_id"], category_of(row["category"]) or row["category"])} if row["category"] else set()
        pairs[row["trace_id"]] |= named
    return pairs


def figures(said: Pairs, gold: Pairs) -> dict[str, float]:
    """Compare pairs with the gold."""
    hits = sum(len(said.get(trace, set()) & pairs) for trace, pairs in gold.items())
    predicted = sum(len(said.get(trace, set())) for trace in gold)
    total = sum(map(len, gold.values()))

    def mean(part: Iterable[float]) -> float:
        every = list(part)
        return sum(every) / len(every) if every else 0.0

    with_gold = {trace: pairs for trace, pairs in gold.items() if pairs}
    return {
        "pair P": hits / predicted if predicted else 0.0,
        "pair R": hits / total if total else 0.0,
        "pair F1": 2 * hits / (predicted + total) if predicted + total else 0.0,
        "location": mean(
            len({s for s, _ in pairs} & {s for s, _ in said.get(trace, set())}) / len({s for s, _ in pairs})
            for trace, pairs in with_gold.items()
        ),
        "joint": mean(len(pairs & said.get(trace, set())) / len(pairs) for trace, pairs in with_gold.items()),
        "said": predicted,
    }


def published(folder: Path, sources: tuple[str, ...]) -> Pairs:
    """Read the pairs of a published report from affected.jsonl beside it."""
    report = json.loads((folder / "report.json").read_text())
    category = {one["issue_id"]: one["category"] for one in report["findings"] if one["source"] in sources}
    pairs: Pairs = defaultdict(set)
    for row in map(json.loads, (folder / "affected.jsonl").read_text().splitlines()):
        if row["issue_id"] in category:
            pairs[row["trace_id"]].add((row["span_id"], category[row["issue_id"]]))
    return pairs


class GoldModel:
    """A model that knows the gold and says it in whatever form it is asked for."""

    def __init__(self, gold: Pairs, reader: Reader) -> None:
        self.gold = gold
        self.steps: dict[str, dict[str, str]] = defaultdict(dict)  # trace → step → span
        self.quotes: dict[tuple[str, str], tuple[str, str]] = {}  # span → field, quote
        rows = reader.query(
            "SELECT trace_id, span_id, name, left(output_text, 200) AS output_text, left(input_text, 200) AS "
            f"input_text, left(error_message, 200) AS error_message FROM spans ORDER BY trace_id, {ORDER}"
        )
        for row in rows:
            trace, span = row["trace_id"], row["span_id"]
            self.steps[trace][f"S{len(self.steps[trace]) + 1}"] = span
            texts = [(name, row[name]) for name in ("output_text", "input_text", "error_message") if row[name]]
            field, text = next(((name, text) for name, text in texts if text.strip()), ("name", ""))
            self.quotes[trace, span] = (field, text.lstrip()[:QUOTE_CHARACTERS] or row["name"])

    def __call__(self, request: Request) -> Say:
        text = request.last
        if request.tools:
            asked = "\n".join(request.texts)
            if EVERY_HYPOTHESIS not in asked:
                return Say(calls=[("query_sql", {"sql": f"SELECT {EVERY_HYPOTHESIS}"})])
            return Say(calls=[("final_answer", self.answer(asked))])
        if "A reader marked step" in text:
            return Say(json.dumps({"stands": True, "why": "it is gold"}))
        if "judged" in text and "[note id" in text:
            return Say(json.dumps(self.grouped(text)))
        if "the notes of all readers" in request.texts[0]:
            return Say(json.dumps({"notes": self.notes(text)}))
        if (page := re.search(r"^trace (\S+)", text, re.MULTILINE)) and "These are" not in text:
            return Say(json.dumps(self.labels(page[1], text)))
        return Say(json.dumps(self.answer(text)))

    def labels(self, trace: str, text: str) -> dict[str, Any]:
        """Label the steps of one page."""
        shown = set(re.findall(r"^(S\d+) ", text, re.MULTILINE))
        found = []
        for step, span in self.steps[trace].items():
            categories = sorted(category for one, category in self.gold.get(trace, ()) if one == span)
            field, quote = self.quotes[trace, span]
            for first in range(0, len(categories) if step in shown else 0, 4):
                said = "" if field == "name" else quote
                found.append({"step": step, "categories": categories[first : first + 4], "what": "gold", "quote": said})
        return {"outcome": "wrong" if found else "ok", "labels": found}

    def notes(self, text: str) -> list[dict[str, Any]]:
        """Note the spans of the traces that are shown, as a reader of several does."""
        found = []
        for trace in re.findall(r"^trace (\S+)", text, re.MULTILINE):
            for span in dict.fromkeys(span for span, _ in sorted(self.gold.get(trace, ()))):
                categories = sorted(category for one, category in self.gold[trace] if one == span)
                field, quote = self.quotes[trace, span]
                said = "" if field == "name" else quote
                found += [
                    {"trace_id": trace, "span_id": span, "categories": categories[first : first + 4], "what": "gold",
                     "quote": said}
                    for first in range(0, len(categories), 4)
                ]  # fmt: skip
        return found

    def grouped(self, text: str) -> dict[str, Any]:
        """Group notes by category."""
        groups: dict[str, list[str]] = defaultdict(list)
        for line in text.splitlines():
            if line.startswith('["n'):
                name, _, categories, *_ = json.loads(line)
                for category in categories:
                    groups[category].append(name)
        findings = [
            {"title": f"Gold: {category}", "description": "By label.", "category": category, "affected": names,
             "evidence": []}
            for category, names in groups.items()
        ]  # fmt: skip
        return {"answer": "By label.", "findings": findings, "hypotheses": self.verdicts(text)}

    def answer(self, text: str) -> dict[str, Any]:
        """Give the gold as span lists, by category."""
        groups: dict[str, list[dict[str, str]]] = defaultdict(list)
        for trace, pairs in self.gold.items():
            for span, category in sorted(pairs):
                groups[category].append({"trace_id": trace, "span_id": span})
        findings = [
            {"title": f"Gold: {category}", "description": "By label.", "category": category, "affected": spans,
             "evidence": [self.quote(spans[0]["trace_id"], spans[0]["span_id"])]}
            for category, spans in groups.items()
        ]  # fmt: skip
        return {"answer": "By label.", "findings": findings, "hypotheses": self.verdicts(text)}

    def quote(self, trace: str, span: str) -> dict[str, str]:
        """Quote a span's own text."""
        field, quote = self.quotes[trace, span]
        return {"trace_id": trace, "span_id": span, "field": field, "quote": quote}

    def verdicts(self, text: str) -> list[dict[str, Any]]:
        """Refute every hypothesis that is listed: their spans are not gold, or are said by the findings."""
        found = []
        listed = [json.loads(line) for line in re.findall(r'^\["D\d.*\]$', text, re.MULTILINE)]
        asked = re.findall(r'\["(D\d+)", ?"([^"]+)"\]', text)  # rows of EVERY_HYPOTHESIS
        for ids, trace in asked or [(line[0], line[-1]) for line in listed]:
            span = next(iter(self.steps[trace].values()))
            found.append({"id": ids, "verdict": "refuted", "why": "Not in the gold.",
                          "evidence": [self.quote(trace, span)]})  # fmt: skip
        return found


def analysed(file: Path, out: Path, route: str | None, base_url: str, model: str) -> tuple[Path, dict[str, Any]]:
    """Run once; `route` None: the detectors alone. Return the report's folder and its `engine`."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    settings: Settings = load_settings(
        environment={**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key},
        overrides={
            "store": {"data_dir": out / "data"}, "model": {"name": model},
            "analysis": {"route": route or "auto"}, "budget": {"max_tokens": 1_000_000_000},
        },
    )  # fmt: skip
    asked = requests.Request(paths=(str(file),), engine="rlm" if route else "detectors", recall=False, out=out)
    done = run.run(settings, asked, now_ns=NOW_NS)
    return done.folder, json.loads(done.report.to_json())


def main() -> None:
    """Run the detectors, then each route; print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("gold", type=Path)
    parser.add_argument("--routes", nargs="+", default=list(ROUTES), choices=ROUTES)
    parser.add_argument("--base-url", help="a real endpoint; without it a scripted model sends the gold")
    parser.add_argument("--model", default="scripted")
    given = parser.parse_args()
    gold = gold_of(given.gold)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        rows = []
        reports, _ = analysed(given.traces, out / "alone", None, "http://127.0.0.1:1/v1", given.model)
        rows.append(("detectors alone", figures(published(reports, ("detector",)), gold), {}))
        scripted = None
        if given.base_url is None:
            segment = store(spans_of([given.traces]), out / "window")
            with reader_of([segment]) as reader:
                scripted = GoldModel(gold, reader)
            rows.append(("labels as sent", figures(gold, gold), {}))
        for route in given.routes:
            began = time.monotonic()
            if scripted is not None:
                with ScriptedModel(scripted) as server:
                    reports, report = analysed(given.traces, out / route, route, server.base_url, given.model)
            else:
                reports, report = analysed(given.traces, out / route, route, given.base_url, given.model)
            engine, traces = report["engine"], max(1, report["totals"]["traces"])
            used = {"calls": engine["model_calls"] / traces, "seconds": (time.monotonic() - began) / traces,
                    "tokens": (engine["input_tokens"] + engine["output_tokens"]) / traces}  # fmt: skip
            rows.append((f"{route}, findings of the model", figures(published(reports, ("rlm",)), gold), used))
            rows.append((f"{route}, published report", figures(published(reports, ("rlm", "detector")), gold), used))
            for note in (*report["coverage"]["not_examined"][:4], *report["rejected"]["reasons"][:4]):
                print(f"  {route}: {note}")
    names = [*rows[0][1], "calls", "tokens", "seconds"]
    print(f"{'per trace: calls, tokens, seconds':<36}" + "".join(f"{name:>10}" for name in names))
    for name, row, used in rows:
        print(f"{name:<36}" + "".join(f"{(row | used).get(one, 0):>10.3f}" for one in names))


if __name__ == "__main__":
    main()
