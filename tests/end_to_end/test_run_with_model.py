"""`halo run` with a model behind real HTTP, as a user starts it; interrupted, killed, and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import HALO, environment, eventually
from tests.sampled import sampled
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


UNVERIFIED = {**TRUE, "evidence": [{**QUOTE, "quote": "nobody ever said this"}]}
UNANSWERED = {
    "refused": (Fault(429, "insufficient_quota", "You exceeded your current quota"),
                "insufficient_quota: You exceeded your current quota"),
    "no such path": (Fault(404, kind="html"), "model_not_found: 404"),
    "prose": (Say("I think it is fine."), "gave no final_answer"),
    "claims that fell": (final(UNVERIFIED, answer="The limit."), "nothing of what it claims stood up to the data"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNANSWERED)
@pytest.mark.parametrize("form", sampled(["json", "markdown", "html", "text"], 1))
def test_a_question_that_was_not_answered_is_no_success(tmp_path: Path, name: str, form: str) -> None:
    """Exit 1, a line on stderr, and the first sentence of every form; the detectors' report is published and named."""
    answer, why = UNANSWERED[name]
    run = Run(tmp_path)
    with ScriptedModel(lambda _: answer) as model:
        process = run.start(model, str(run.file), "-p", "Why?", "--route", "loop", "--format", form)
        out, err = (text.decode() for text in process.communicate(timeout=90))
    assert process.returncode == 1, err
    said = [line for line in err.splitlines() if line.startswith("the question was not answered: ")]
    assert len(said) == 1
    assert why in said[0]
    assert "report: " in err
    shown = " ".join(json.loads(out)["headline"].split() if form == "json" else out.replace("\\", "").split())
    assert "The question was not answered: " in shown
    assert why in shown
    if form == "json":
        assert why in json.loads(out)["unanswered"]
        assert titles(json.loads(out), "detector")


def test_without_a_question_a_model_that_cannot_be_asked_is_a_warning(halo_run: Run) -> None:
    report = halo_run(lambda _: Fault(401, "invalid_api_key", "Incorrect API key"))
    assert "warning: no model could be asked: invalid_api_key: " in halo_run.said
    assert report["headline"].startswith("No model could be asked: invalid_api_key: ")
    assert len(halo_run.requests) == 1


def test_a_retry_is_logged_with_the_setting_that_cut_it_off(halo_run: Run) -> None:
    answers: list[Answer] = [Fault(kind="hang"), final(answer="The limit.")]
    report = halo_run(lambda request: answers[min(request.number, 1)], "-p", "Why?", "--route", "loop",
                      "--request-timeout", "1")  # fmt: skip
    assert report["answer"] == "The limit."
    [line] = [line for line in halo_run.said.splitlines() if "model call retried" in line]
    assert "attempt=2 of=7" in line
    assert "no answer within 1 s ([model] request_timeout_seconds)" in line


def test_a_dead_endpoint_costs_a_map_one_call(halo_run: Run) -> None:
    halo_run(lambda _: Fault(400, "invalid_request", "nothing is taken"), "-p", "Why?", "--route", "map", code=1)
    assert len(halo_run.requests) == 1


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
    assert process.returncode == 1, err.decode()  # the question was not answered
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
