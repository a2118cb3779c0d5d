"""The engine beside HALO's and rlms, the same spans, the same scripted model, in one run.

    python -m benchmarks.engine_peers [--spans 2000 20000 200000] [--words 60] [--halo PYTHON] [--rlms PYTHON]

A scripted model behind real HTTP asks all of them the same: overview, error groups, failing traces, one of them looked
at and searched, a count, one span, an answer. Tool names and arguments are HALO's, which ours understands; rlms has no
tools for traces and is given code that asks the same of its `context`. HALO and rlms are skipped where they are not
installed: `--halo` and `--rlms` name the Python of an environment that has them (also HALO_PEER, RLMS_PEER), made by

    python -m venv H && H/bin/pip install --no-deps halo-engine==0.3.5 && H/bin/pip install <its other pins but ripgrep>
    python -m venv R && R/bin/pip install rlms==0.1.3

Measured from outside: requests, bytes of their bodies, the share of a request that the next one begins with (`prefix`),
tokens as a quarter of the bytes, seconds from the start of the process to the first request and to its end, CPU
seconds, and the peak memory of all its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import flat_spans, watched
from tests.scripted_model import Request, Say, ScriptedModel

REPOSITORY = Path(__file__).resolve().parent.parent
# HALO asks the network for the parts of its sandbox before every run; where there is none it waits for that. Left out
# in the kindest of the three rows, which the ratios are against.
HALO_WITHOUT_SANDBOX = """
from engine.sandbox.sandbox import Sandbox
Sandbox.get = classmethod(lambda cls: None)
from halo_cli.main import app
app()
"""
KINDEST = "HALO 0.3.5, index written, no sandbox"
QUESTION = "Which failures are most frequent, and what causes them?"
ANSWER = "Refunds above the limit, rate limits and timeouts of search_orders."

_RLMS = """
import os, sys
from rlm import RLM
text = open(sys.argv[1], encoding="utf-8").read()
kwargs = {"model_name": "scripted", "base_url": os.environ["OPENAI_BASE_URL"], "api_key": "none"}
rlm = RLM(backend="openai", backend_kwargs=kwargs, max_iterations=20)
print(rlm.completion(text, root_prompt=%r).response)
"""


WORDS = [flat_spans.WORDS_A_TEXT]  # of a text in this run


class Script:
    """The same questions for every engine. `first` is when the first request came."""

    def __init__(self, spans: int, words: int = flat_spans.WORDS_A_TEXT) -> None:
        (trace, span), *_ = flat_spans.failing(spans, count=1, words=words)
        failing: dict[str, Any] = {"filters": {"has_errors": True}}
        self.turns: list[tuple[str, dict[str, Any]]] = [
            ("get_dataset_overview", {"filters": {}}),
            ("query_traces", {**failing, "limit": 50, "offset": 0}),
            ("count_traces", failing),
            ("view_trace", {"trace_id": trace}),
            ("search_trace", {"trace_id": trace, "regex_pattern": "refund", "max_matches": 20}),
            ("count_traces", {"filters": {"regex_pattern": "RateLimitError"}}),
            ("view_spans", {"trace_id": trace, "span_ids": [span]}),
            ("query_traces", {"filters": {"agent_names": ["support"], "has_errors": True}, "limit": 20, "offset": 0}),
            ("final_answer", {"answer": ANSWER}),
        ]
        self.first: float | None = None
        self.asked = 0

    def tools(self, request: Request) -> Say:
        """Answer the next question as a tool call."""
        self.first = self.first or time.monotonic()
        turn = self.turns[min(self.asked, len(self.turns) - 1)]
        self.asked += 1
        return Say(calls=[turn])

    def code(self, request: Request) -> Say:
        """Ask the same in the Python of rlms."""
        self.first = self.first or time.monotonic()
        self.asked += 1
        trace = self.turns[3][1]["trace_id"]
        blocks = [
            "import json\nspans = [json.loads(line) for line in context.split('\\n') if line]\n"
            "print(len(spans), len({s['trace_id'] for s in spans}))",
            "bad = [s for s in spans if s['status']['code'] == 'STATUS_CODE_ERROR']\n"
            "print([(s['trace_id'], s['name'], s['status']['message']) for s in bad[:50]])",
            "print(len({s['trace_id'] for s in bad}))",
            f"print(json.dumps([s for s in spans if s['trace_id'] == '{trace}'])[:150000])",
            f"print([s['span_id'] for s in spans if s['trace_id'] == '{trace}' and 'refund' in json.dumps(s)])",
            "print(len({s['trace_id'] for s in spans if 'RateLimitError' in json.dumps(s)}))",
            f"print([s for s in bad if s['trace_id'] == '{trace}'])",
            "print([s['trace_id'] for s in bad if s['attributes']['agent.name'] == 'support'][:20])",
        ]
        if self.asked <= len(blocks):
            return Say(f"```repl\n{blocks[self.asked - 1]}\n```")
        return Say(f"```repl\nanswer['content'] = {ANSWER!r}\nanswer['ready'] = True\n```")


def measure(name: str, spans: int, argv: list[str], *, code: bool = False, **env: str) -> dict[str, Any]:
    """Run one engine against a server of its own."""
    script = Script(spans, WORDS[0])
    with ScriptedModel(script.code if code else script.tools) as model:
        environment = {**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": model.base_url, **env}
        done = watched.run(argv, env=environment, cwd=REPOSITORY)
        sent = model.bytes_received
        requests = len(model.requests)
        reused = prefix(model.requests)
    row = {
        "engine": name,
        "spans": spans,
        "ended_well": done.code == 0 and ANSWER[:30] in done.output,
        "requests": requests,
        "bytes": sent,
        "tokens": sent // 4,
        "largest_request": max((request.size for request in model.requests), default=0),
        "prefix": reused,
        "first_request_s": round(script.first - done.started, 2) if script.first else None,
        "wall_s": round(done.seconds, 2),
        "cpu_s": round(done.cpu_seconds, 1),
        "peak_mib": round(done.peak_bytes / 2**20),
    }
    if not row["ended_well"]:
        print(f"--- {name}, {spans} spans: exit {done.code}\n{done.output[-2000:]}\n---", file=sys.stderr)
    return row


def prefix(requests: Sequence[Request]) -> float | None:
    """Return what share of each request the next one repeats from its beginning: what a provider's cache can hold."""
    texts = [json.dumps([request.body.get("tools"), request.messages]) for request in requests]
    kept = sum(_common(one, following) for one, following in pairwise(texts))
    return round(kept / sum(map(len, texts[:-1])), 3) if len(texts) > 1 else None


def _common(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def halo(python: str, file: Path, spans: int) -> list[dict[str, Any]]:
    """HALO's own command line: with its index to build, with the index beside the file, and without its sandbox."""
    arguments = [str(file), "-p", QUESTION, "-m", "gpt-5.4-mini"]
    argv = [str(Path(python).parent / "halo"), *arguments]
    for beside in file.parent.glob(f"{file.name}.*"):
        beside.unlink()
    rows = [measure(f"HALO 0.3.5, {state}", spans, argv) for state in ("no index yet", "index written")]
    return [*rows, measure(KINDEST, spans, [python, "-c", HALO_WITHOUT_SANDBOX, *arguments])]


def rlms(python: str, file: Path, spans: int) -> list[dict[str, Any]]:
    """The RLM of the paper's authors, the file as its context."""
    return [measure("rlms 0.1.3", spans, [python, "-c", _RLMS % QUESTION, str(file)], code=True)]


def ours(file: Path, spans: int) -> list[dict[str, Any]]:
    """Ours: from the file alone, and with the store already written."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        halo_ = [sys.executable, "-m", "halo_worker"]
        asked = ["-p", QUESTION, "--route", "loop", "--format", "markdown"]
        from_file = measure(
            "halo, from the file", spans, [*halo_, "run", "--input", str(file), *asked, "--out", f"{folder}/out"]
        )
        subprocess.run([*halo_, "import", "--data-dir", str(data), str(file)], check=True, cwd=REPOSITORY)
        stored = measure("halo, store written", spans, [*halo_, "run", "--data-dir", str(data), "--last", "1h", *asked])
        return [from_file, stored]


def table(rows: list[dict[str, Any]]) -> str:
    """Write the rows as Markdown, each beside the kindest of HALO's at the same size."""
    lines = [
        "| spans | engine | requests | KiB sent | of HALO | prefix | first, s | of HALO | wall, s | CPU, s | MiB | "
        "ended |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peer = next((r for r in rows if r["spans"] == row["spans"] and r["engine"] == KINDEST), None)

        def ratio(key: str, row: dict[str, Any] = row, peer: dict[str, Any] | None = peer) -> str:
            return f"{row[key] / peer[key]:.2f}" if peer and peer[key] and row[key] is not None else "-"

        lines.append(
            f"| {row['spans']:,} | {row['engine']} | {row['requests']} | {row['bytes'] / 1024:.1f} | {ratio('bytes')} "
            f"| {row['prefix']} | {row['first_request_s']} | {ratio('first_request_s')} | {row['wall_s']} "
            f"| {row['cpu_s']} | {row['peak_mib']} | {'yes' if row['ended_well'] else 'NO'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spans", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--halo", default=os.environ.get("HALO_PEER"), help="Python with halo-engine")
    parser.add_argument("--rlms", default=os.environ.get("RLMS_PEER"), help="Python with rlms")
    parser.add_argument("--words", type=int, default=flat_spans.WORDS_A_TEXT, help="of a text; 600 makes wide spans")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--without-ours", action="store_true")
    given = parser.parse_args()
    engines: list[Callable[[Path, int], list[dict[str, Any]]]] = [] if given.without_ours else [ours]
    for name, python, engine in (("halo-engine", given.halo, halo), ("rlms", given.rlms, rlms)):
        if python and Path(python).exists():
            engines.append(lambda file, spans, python=python, engine=engine: engine(python, file, spans))
        else:
            print(f"{name} is skipped: it is not installed, see --help", file=sys.stderr)
    WORDS[0] = given.words
    rows = []
    for spans in given.spans:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traces.jsonl"
            flat_spans.write(file, spans, words=given.words)
            print(f"{spans} spans, {file.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
            for engine in engines:
                rows += engine(file, spans)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
