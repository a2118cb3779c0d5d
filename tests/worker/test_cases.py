"""`halo cases`: what becomes a case, and that the written tests fail on a failing agent and pass on a mended one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from halo_worker import inputs, issues, run
from halo_worker.cases import collect
from halo_worker.cases.choose import Candidate, controls, kinds
from halo_worker.cli.detectors import NEW
from halo_worker.config import load_settings
from halo_worker.request import Request
from halo_worker.window import Window
from tests.worker.analysis.windows import BEGIN, span, write
from tests.worker.conftest import Halo

REPOSITORY = Path(__file__).resolve().parents[2]

# An agent that fails as the recorded one does, until FIXED is set; ENDLESS never answers, MUTE leaves no span.
TOY = """
import asyncio, os, time
from opentelemetry import trace

def run(given):
    if os.environ.get("MODE") == "endless":
        time.sleep(600)
    if os.environ.get("MODE") == "mute":
        return "done"
    tracer = trace.get_tracer("toy")
    kind = "openinference.span.kind"
    with tracer.start_as_current_span("agent", attributes={kind: "AGENT", "input.value": given["text"]}) as agent:
        with tracer.start_as_current_span("refund", attributes={kind: "TOOL", "tool.name": "refund"}) as tool:
            if os.environ.get("MODE") == "fixed" or "status" in given["text"]:
                tool.set_attribute("output.value", "refunded")
            else:
                tool.set_status(trace.Status(trace.StatusCode.ERROR, "LimitExceeded: the refund exceeds the limit"))
        agent.set_attribute("output.value", "your refund is done")
    return "your refund is done"

async def answer(given):
    return run(given)
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refunds fail in two ways of asking, twenty times and thrice; what only asks for a status passes."""
    folder = tmp_path_factory.mktemp("cases")
    lines = []
    for number in range(30):
        asked = f"please refund my order {number} to my card, it arrived broken"
        if number >= 20:
            asked = f"money back for parcel {number}, write to ann{number}@example.com"
        if number >= 23:
            asked = f"please tell the status of my order {number}, it arrived broken"
        failed = "LimitExceeded: the refund exceeds the limit" if number < 23 else ""
        named = {"agent.name": "shop", "session.id": "s" if number in (21, 22) else f"s{number}"}
        lines.append(span(number, 0, name="agent", kind="AGENT", given=asked, output="done", **named))
        lines.append(
            span(number, 1, name="refund", kind="TOOL", parent=0, given="{}", output="" if failed else "ok",
                 error=failed, **{"agent.name": "shop"})
        )  # fmt: skip
    settings = load_settings(environment={}, overrides={"store": {"data_dir": folder / "data"}})
    file = write(lines, folder / "spans.jsonl")
    now = (BEGIN + 86_400) * 10**9
    inputs.import_files([str(file)], folder / "data", now_ns=now, arrival="span-time", say=lambda _: None)
    request = Request(window=Window(BEGIN * 10**9, now), seal=False, remember=True, engine="detectors")
    run.run(settings, request, now_ns=now)
    return folder / "data"


def issue_of(data_dir: Path) -> str:
    memory = issues.memory(load_settings(environment={}, overrides={"store": {"data_dir": data_dir}}))
    [issue_id] = [one.issue_id for one in memory.issues.values() if one.finding.category == "Unhandled Error"] or [
        next(iter(memory.issues))
    ]
    return issue_id


def cases_of(halo: Halo, data_dir: Path, *words: str) -> list[dict[str, Any]]:
    done = halo("cases", issue_of(data_dir), "--data-dir", str(data_dir), *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_one_case_of_each_kind_and_a_control_that_resembles_it(halo: Halo, data_dir: Path) -> None:
    first, second, control = cases_of(halo, data_dir)
    assert [one["source"]["traces_like_it"] for one in (first, second)] == [20, 3]
    assert (control["kind"], "status of my order" in control["input"]["text"]) == ("control", True)
    assert "write to [redacted]" in second["input"]["text"], "masked as deliveries are"
    assert [one["input"]["session_id"] for one in (first, second)] == ["s19", "s"]
    assert [turn["output"] for turn in second["input"]["earlier_turns"]] == ["done"]
    assert first["input"]["earlier_turns"] == []
    assert first["rule"]["kind"] == "detector"
    assert [step["name"] for step in first["observed"]["steps"]] == ["agent", "refund"]
    assert first["expected"]["by"] == "report"
    assert len(cases_of(halo, data_dir, "--max", "1")) == 2
    documented = (REPOSITORY / "docs" / "cases.md").read_text(encoding="utf-8")
    members = {*first, *first["source"], *first["input"], *first["observed"], *first["rule"], *first["expected"]}
    assert {one for one in members if f"`{one}`" not in documented and f'"{one}"' not in documented} == set()


def test_what_gives_no_cases_is_said(
    halo: Halo, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = halo("cases", "HALO-00000000", "--data-dir", str(data_dir))
    assert (unknown.code, "there is no issue HALO-00000000" in unknown.err) == (2, True)
    shutil.copytree(data_dir, tmp_path / "gone")
    for path in (tmp_path / "gone" / "segments").glob("*.duckdb"):
        path.unlink()
    gone = halo("cases", issue_of(data_dir), "--data-dir", str(tmp_path / "gone"))
    assert (gone.code, "are not stored any more" in gone.err) == (2, True)
    monkeypatch.setattr(collect, "_candidates", lambda *_, **__: [])  # as where nobody captures inputs
    mute = halo("cases", issue_of(data_dir), "--data-dir", str(data_dir))
    assert (mute.code, "23 stored traces" in mute.err, "hold no input" in mute.err) == (2, True, True)


def test_the_written_pytest_fails_on_the_failure_and_passes_on_the_fix(halo: Halo, data_dir: Path) -> None:
    """And where the agent never answers, or is not instrumented, it says so instead of passing."""
    assert halo("cases", issue_of(data_dir), "--format", "pytest", "--out", "t", "--data-dir", str(data_dir)).code == 0
    Path("toy.py").write_text(TOY)
    failing = _pytest(agent="toy:run")
    assert (failing.returncode, "2 failed, 1 passed" in failing.stdout) == (1, True), failing.stdout
    assert "is back: refund fails" in failing.stdout
    fixed = _pytest(agent="toy:answer", mode="fixed")
    assert (fixed.returncode, "3 passed" in fixed.stdout) == (0, True), fixed.stdout
    endless = _pytest("-k", "control", agent="toy:run", mode="endless", seconds="0.5")
    assert (endless.returncode, "did not answer within 0.5 s" in endless.stdout) == (1, True), endless.stdout
    mute = _pytest("-k", "control", agent="toy:run", mode="mute")
    assert (mute.returncode, "recorded no spans" in mute.stdout) == (1, True), mute.stdout
    Path("t/conftest.py").write_text("# mine")
    halo("cases", issue_of(data_dir), "--format", "pytest", "--out", "t", "--data-dir", str(data_dir))
    assert Path("t/conftest.py").read_text() == "# mine"


@pytest.mark.long
def test_a_detector_of_the_users_own_goes_into_the_written_test(halo: Halo, data_dir: Path, tmp_path: Path) -> None:
    """The case carries its file; what a pattern of a rule looks for is not masked in it."""
    shutil.copytree(data_dir, tmp_path / "data")
    rule = NEW.format(name="refused_refund").replace(
        "span_type = 'tool' AND duration_ns > 60e9", "status_code = 'ERROR' AND name = 'refund'  -- ann@example.com"
    )
    own = tmp_path / "rules"
    own.mkdir()
    (own / "refused_refund.sql").write_text(rule)
    Path("halo.toml").write_text(f'[store]\ndata_dir = "{tmp_path / "data"}"\n[detectors]\npaths = ["{own}"]\n')
    settings = load_settings(file=Path("halo.toml"), environment={})
    now = (BEGIN + 86_400) * 10**9
    request = Request(window=Window(BEGIN * 10**9, now), seal=False, remember=True, engine="detectors")
    report = run.run(settings, request, now_ns=now).report
    [issue_id] = [one.issue_id for one in report.findings if one.detector and one.detector.name == "refused_refund"]
    done = halo("cases", issue_id, "--format", "pytest", "--out", "t", "--max", "1")
    assert done.code == 0, done.err
    assert json.loads(Path("t/cases.jsonl").read_text().splitlines()[0])["rule"]["text"] == rule
    Path("toy.py").write_text(TOY)
    failing = _pytest(agent="toy:run")
    assert (failing.returncode, "1 failed, 1 passed" in failing.stdout) == (1, True), failing.stdout
    fixed = _pytest(agent="toy:run", mode="fixed")
    assert (fixed.returncode, "2 passed" in fixed.stdout) == (0, True), fixed.stdout


def _pytest(*words: str, agent: str, mode: str = "", seconds: str = "60") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HALO_AGENT": agent, "MODE": mode, "HALO_CASE_SECONDS": seconds, "PYTHONPATH": f"{REPOSITORY}:{Path.cwd()}",
        "PYTEST_ADDOPTS": "",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "t", "t", *words],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


# What promptfoo's reference says of a configuration, as far as ours uses it.
PROMPTFOO = {
    "type": "object",
    "required": ["prompts", "providers", "tests"],
    "properties": {
        "prompts": {"type": "array", "items": {"type": "string"}},
        "providers": {
            "type": "array",
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"pattern": "^file://.+[.]py$"}}},
        },
        "tests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["vars", "assert"],
                "properties": {
                    "vars": {"type": "object"},
                    "assert": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"type": {"const": "python"}}, "required": ["value"]},
                    },
                },
            },
        },
    },
}


def test_the_promptfoo_configuration_is_one_and_its_parts_tell_the_failure(halo: Halo, data_dir: Path) -> None:
    """The provider and the assertion are called as promptfoo's Python worker does."""
    assert (
        halo("cases", issue_of(data_dir), "--format", "promptfoo", "--out", "p", "--data-dir", str(data_dir)).code == 0
    )
    config = json.loads(Path("p/promptfooconfig.json").read_text())
    jsonschema.validate(config, PROMPTFOO)
    Path("toy.py").write_text(TOY)
    worker = """
import json, sys
sys.path[:0] = ["p"]
import halo_promptfoo as ours
told = []
for test in json.load(open("p/promptfooconfig.json"))["tests"]:
    said = ours.call_api(test["vars"]["input"], {}, {"vars": test["vars"]})
    told.append(ours.get_assert(said.get("output"), {"providerResponse": said})["pass"])
print(json.dumps(told))
"""
    environment = os.environ | {"HALO_AGENT": "toy:run", "PYTHONPATH": f"{REPOSITORY}:{Path.cwd()}"}
    done = subprocess.run([sys.executable, "-c", worker], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [False, False, True]


def test_promptfoo_itself_runs_the_configuration(halo: Halo, data_dir: Path) -> None:
    program = shutil.which("promptfoo")
    tried = subprocess.run([program, "--version"], capture_output=True, text=True, check=False) if program else None
    if program is None or tried is None or tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["it does not start"])[-1] if tried else "it is not installed"
        pytest.skip(f"SKIPPED: promptfoo does not run, {why} (npm install -g promptfoo, @0.120.27 below Node 22.22)")
    assert (
        halo("cases", issue_of(data_dir), "--format", "promptfoo", "--out", "p", "--data-dir", str(data_dir)).code == 0
    )
    Path("p/toy.py").write_text(TOY)
    environment = os.environ | {
        "HALO_AGENT": "toy:run", "PYTHONPATH": str(REPOSITORY), "PROMPTFOO_PYTHON": sys.executable,
        "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [program, "eval", "--no-cache", "-o", "out.json"], cwd="p", env=environment, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    results = json.loads(Path("p/out.json").read_text())["results"]["stats"]
    assert (results["failures"], results["successes"]) == (2, 1), done.stdout


def test_kinds_keep_failures_and_agents_apart() -> None:
    failing = [
        Candidate("1", "a", "refund the order of yesterday please", "limit exceeded"),
        Candidate("2", "a", "refund the order of today please", "limit exceeded"),
        Candidate("3", "a", "refund the order of today please", "no such account there"),
        Candidate("4", "b", "refund the order of today please", "limit exceeded"),
    ]
    assert [[one.trace_id for one in kind.members] for kind in kinds(failing)] == [["1", "2"], ["3"], ["4"]]
    passing = [Candidate("5", "a", "what is the weather"), Candidate("6", "a", "refund an order please")]
    assert [one.trace_id for one in controls(failing[:2], passing)] == ["6"]
