"""`halo run` with a model behind real HTTP, as a user starts it; interrupted, killed, and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import HALO, environment, eventually
from tests.scripted_model import Answer, Fault, Request, Say, ScriptedModel
from tests.worker.analysis.claims import LIMIT, ORDER, QUOTE, TRUE, final, titles
from tests.worker.analysis.windows import ordinary, span, trace_id, write


class Run:
    """One `halo run` against a script, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        lines = [*ordinary(30, failing=[3, 7, 9]), span(40, 0, output=ORDER, given=ORDER)]
        self.file = write(lines, directory / "spans.jsonl")

    def start(self, model: ScriptedModel, *arguments: str) -> subprocess.Popen[bytes]:
        env = environment() | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "none"}
        return subprocess.Popen(
            [*HALO, *arguments], cwd=self.directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __call__(self, script: Any, *arguments: str, code: int = 0) -> dict[str, Any]:
        with ScriptedModel(script) as model:
            process = self.start(model, str(self.file), "--format", "json", *arguments)
            out, err = process.communicate(timeout=90)
        self.said = err.decode()
        self.requests = model.requests
        assert process.returncode == code, self.said
        report: dict[str, Any] = json.loads(out)
        return report


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_question_is_answered_by_turns_tools_and_code(halo_run: Run) -> None:
    code = (
        "rows = query_sql(sql=\"SELECT trace_id, span_id FROM spans WHERE status_code = 'ERROR'\")['rows']\n"
        "print(len(rows))"
    )
    script = [
        Say(calls=[("get_dataset_overview", {"filters": {}}), ("count_traces", {"filters": {"has_errors": True}})]),
        Say(calls=[("run_code", {"code": code})]),
        Say(calls=[("view_trace", {"trace_id": trace_id(3)})]),
        final(TRUE, answer=f"Refunds exceed the limit, see {trace_id(3)}: 3 traces."),
    ]
    report = halo_run(script, "-p", "Why do refunds fail?", "--route", "loop")
    assert (report["status"], report["stopped_by"]) == ("complete", None)
    assert report["answer"] == f"Refunds exceed the limit, see {trace_id(3)}: 3 traces."
    [finding] = [item for item in report["findings"] if item["source"] == "rlm"]
    assert (finding["prevalence"]["traces"], finding["prevalence"]["of"]) == (3, 31)
    assert finding["evidence"] == [QUOTE]
    assert finding["detector"]["sql"] == LIMIT
    engine = report["engine"]
    assert (engine["mode"], engine["route"], engine["turns"], engine["model_calls"]) == ("rlm", "loop", 4, 4)
    assert engine["input_tokens"] > 1000
    assert titles(report, "detector"), "the detectors' findings stand beside it"
    assert '"stdout":"3' in "".join(halo_run.requests[2].texts)
    assert "turn 4 of 20" in halo_run.said
    folder = next((halo_run.directory / "halo-reports").glob("2*"))
    assert (folder / "trajectory.jsonl").stat().st_size > 1000
    assert not list((halo_run.directory / "halo-reports" / ".runs").glob("*")), (
        "nothing is left of a run that ended well"
    )


def _hanging(request: Request) -> Answer:
    if request.number < 1:
        return Say(calls=[("count_traces", {"filters": {}})])
    return Fault(kind="hang")


def test_ctrl_c_publishes_what_is_established_and_resume_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    asked = (str(run.file), "--format", "json", "-p", "Why?", "--route", "loop")
    with ScriptedModel(_hanging) as model:
        process = run.start(model, *asked)
        eventually(lambda: len(model.requests) >= 2, what="the second request is in flight")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert process.returncode == 0, err.decode()
    assert (report["status"], report["stopped_by"]) == ("partial", "interrupted")
    assert b"interrupted" in err
    again = _resumed(run, report["id"])
    assert (again["id"], again["status"], again["answer"]) == (report["id"], "complete", "At last.")
    assert again["engine"]["model_calls"] >= 3, "what was spent before counts"


def _resumed(run: Run, run_id: str) -> dict[str, Any]:
    with ScriptedModel([final(TRUE, answer="At last.")]) as model:
        process = run.start(model, "run", "--format", "json", "--resume", run_id)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    report: dict[str, Any] = json.loads(out)
    return report


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with ScriptedModel(_hanging) as model:
        process = run.start(model, str(run.file), "-p", "Why?", "--route", "loop")
        eventually(lambda: len(model.requests) >= 2, what="the second request is in flight")
        process.kill()
        process.communicate(timeout=60)
    [folder] = (run.directory / "halo-reports" / ".runs").iterdir()
    assert _resumed(run, folder.name)["answer"] == "At last."


def test_a_run_that_never_was_cannot_be_resumed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with ScriptedModel([]) as model:
        process = run.start(model, "run", "--resume", "20260101T000000Z-aaaaaa")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"there is no run 20260101T000000Z-aaaaaa" in err


def test_a_question_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    run = Run(tmp_path)
    done = subprocess.run(
        [*HALO, str(run.file), "-p", "Why?"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"OPENAI_API_KEY" in done.stderr
    assert b"--detectors-only" in done.stderr


def test_a_bad_repository_is_named_before_a_model_is_asked(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with ScriptedModel([]) as model:
        process = run.start(model, str(run.file), "-p", "Why?", "--repo-path", str(tmp_path / "nowhere"))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"nowhere" in err
    assert model.requests == []
