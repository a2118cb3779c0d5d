"""Run a split with a version of the harness; leave its traces and its score.

python -m benchmarks.loop.run dev --revision 1 --data bfcl_eval/data --base-url http://127.0.0.1:8077/v1 --out dev-1

Leaves OUT.pb (one OTLP message, for `halo import` and `halo verify --input`) and OUT.json (what was right). Needs
openai, openinference-instrumentation-openai, opentelemetry-sdk and jsonschema; halo reads the traces elsewhere.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from openai import OpenAI
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.loop import tasks
from benchmarks.loop.agent import REVISIONS, Agent


def main() -> None:
    """Run one split."""
    options = _options()
    exporter = InMemorySpanExporter()
    resource = Resource.create({"service.name": "loop", "service.version": options.revision})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    agent = Agent(
        OpenAI(base_url=options.base_url, api_key="none", max_retries=0, timeout=options.timeout),
        REVISIONS[options.revision],
    )
    chosen = tasks.split(tasks.load(options.data), options.split)
    rows, begun = [], time.monotonic()
    for number, task in enumerate(chosen, 1):
        called = agent(task)
        right = called is not None and tasks.is_right(task, *called)
        rows.append({"id": task.id, "called": called, "right": right})
        print(f"{number}/{len(chosen)} {task.id} {'right' if right else 'wrong'} {called}", flush=True)
    Path(f"{options.out}.pb").write_bytes(encode_spans(exporter.get_finished_spans()).SerializeToString())
    score = {
        "split": options.split, "revision": options.revision, "right": sum(row["right"] for row in rows),
        "of": len(rows), "seconds": round(time.monotonic() - begun), "tasks": rows,
    }  # fmt: skip
    Path(f"{options.out}.json").write_text(json.dumps(score, indent=1), encoding="utf-8")
    print(f"{score['right']} of {score['of']} right in {score['seconds']} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", choices=list(tasks.SPLITS))
    parser.add_argument("--revision", choices=list(REVISIONS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="bfcl_eval/data")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of one request")
    return parser.parse_args()


if __name__ == "__main__":
    main()
