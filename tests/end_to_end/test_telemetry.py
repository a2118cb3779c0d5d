"""`--telemetry`: a run of halo, seen by halo. And the script of benchmarks/engine_peers.py, small."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks import flat_spans
from benchmarks.engine_peers import ANSWER, QUESTION, Script, table
from tests.end_to_end.conftest import HALO, environment
from tests.scripted_model import Scripted

SPANS = 800


def test_a_run_is_a_trace_that_halo_shows(scripted_model: Scripted, tmp_path: Path) -> None:
    """Every tool of HALO's is called by the names and arguments that were written for it, and the answer comes out."""
    flat_spans.write(tmp_path / "traces.jsonl", SPANS)
    data = tmp_path / "data"
    script = Script(SPANS)
    model = scripted_model(script.tools)
    asked = ["run", "--input", "traces.jsonl", "-p", QUESTION, "--route", "loop", "--format", "json", "--telemetry"]
    env = environment() | {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": model.base_url}
    done = subprocess.run(
        [*HALO, *asked, "--data-dir", data, "--out", tmp_path / "out"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == ANSWER
    results = [message["content"] for message in model.requests[-1].messages if message["role"] == "tool"]
    assert len(results) == len(script.turns) - 1
    assert not [text for text in results if "rror:" in text.split("\n")[0]]
    [trace_id] = [line.split()[-1] for line in done.stderr.splitlines() if "halo trace" in line]
    shown = subprocess.run(
        [*HALO, "trace", trace_id, "--data-dir", data, "--format", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    spans = json.loads(shown.stdout)
    assert {span["service_name"] for span in spans} == {"halo"}
    assert sum(span["span_type"] == "llm" for span in spans) == len(script.turns)
    tools = [span["tool_name"] for span in spans if span["span_type"] == "tool"]
    assert [name for name, _ in script.turns[:-1]] == tools[: len(script.turns) - 1]
    assert sum(span["input_tokens"] or 0 for span in spans if span["span_type"] == "llm") > 10_000


def test_the_table_compares_with_the_kindest_row_of_the_same_size() -> None:
    row = {"spans": 10, "engine": "halo", "requests": 9, "bytes": 50, "prefix": None, "first_request_s": None,
           "wall_s": 1.0, "cpu_s": 1.0, "peak_mib": 5, "ended_well": False}  # fmt: skip
    peer = {**row, "engine": "HALO 0.3.5, index written, no sandbox", "bytes": 200, "first_request_s": 2.0}
    lines = table([row, peer]).splitlines()
    assert "| 0.25 | None | None | - |" in lines[2]
    assert lines[2].endswith("| NO |")
    assert "| 1.00 | None | 2.0 | 1.00 |" in lines[3]
