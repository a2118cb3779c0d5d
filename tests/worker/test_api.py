"""The Python API against a scripted model behind real HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks import flat_spans
from halo_worker import inputs
from halo_worker.api import (
    AgentConfig,
    AgentMessage,
    AgentOutputItem,
    AgentTextDelta,
    EngineConfig,
    ModelConfig,
    ModelProviderConfig,
    RunCheckpoint,
    analyze,
    run_engine,
    run_engine_async,
    stream_engine,
    stream_engine_async,
    stream_engine_output,
)
from halo_worker.errors import ConfigError, InputError, ModelError
from tests.scripted_model import Fault, Say, Scripted, ScriptedModel

SPANS = 800
ASK = [AgentMessage(role="user", content="Why do refunds fail?")]
ANSWER = Say(calls=[("final_answer", {"answer": "They are above the limit."})])
LOOK = Say("I look first.", calls=[("get_dataset_overview", {})])


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    flat_spans.write(path, SPANS)
    return path


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def config(model: ScriptedModel, **more: Any) -> EngineConfig:
    agent = AgentConfig(name="root", model=ModelConfig(name="scripted"), maximum_turns=more.pop("turns", 8))
    provider = ModelProviderConfig(base_url=model.base_url, api_key="none")
    return EngineConfig(root_agent=agent, subagent=agent, model_provider=provider, **more)


def test_every_output_comes_in_order_and_one_is_final(scripted_model: Scripted, traces: Path) -> None:
    outputs = list(stream_engine(ASK, config(scripted_model([LOOK, ANSWER])), traces))
    assert [output.sequence for output in outputs] == sorted({output.sequence for output in outputs})
    items = [output for output in outputs if isinstance(output, AgentOutputItem)]
    assert "".join(o.text_delta for o in outputs if isinstance(o, AgentTextDelta)).startswith("I look first.")
    assert items[0].item.tool_calls is not None
    assert items[0].item.tool_calls[0].function.name == "get_dataset_overview"
    assert items[1].item.role == "tool"
    assert '"traces":40' in str(items[1].item.content)
    assert [item.final for item in items].count(True) == 1
    assert items[-1].final
    assert items[-1].item == AgentMessage(role="assistant", content="They are above the limit.")


async def test_within_a_loop_all_messages_come_at_the_end(scripted_model: Scripted, traces: Path) -> None:
    items = await run_engine_async(ASK, config(scripted_model([LOOK, ANSWER])), [str(traces)])
    assert [item.item.role for item in items] == ["assistant", "tool", "assistant", "assistant"]


def test_a_caller_s_system_prompt_is_sent_word_for_word(scripted_model: Scripted, traces: Path) -> None:
    conversation = [
        AgentMessage(role="system", content="You are terse.\nVerbatim é."),
        AgentMessage(role="user", content="First?"),
        AgentMessage(role="assistant", content="So."),
        AgentMessage(role="user", content="And?"),
    ]
    model = scripted_model([ANSWER])
    run_engine(conversation, config(model), traces)
    sent = model.requests[0].messages
    assert (sent[0]["role"], sent[0]["content"]) == ("system", "You are terse.\nVerbatim é.")
    assert [(m["role"], m["content"].split("\n")[0]) for m in sent[1:]] == [
        ("user", "First?"), ("assistant", "So."), ("user", "And?"),
    ]  # fmt: skip


@pytest.mark.long
def test_without_one_ours_comes_first_and_the_question_with_what_is_known(
    scripted_model: Scripted, traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = scripted_model([ANSWER])
    run_engine(ASK, config(model, dataset_context="A shop's agents."), traces)
    system, first = model.requests[0].messages[:2]
    assert system["role"] == "system"
    assert "A shop's agents." in system["content"]
    assert "Why do refunds fail?" in first["content"]
    assert '"traces":40' in first["content"]
    assert list(tmp_path.iterdir()) == [], "nothing is kept where nothing was asked for"


def test_leaving_early_ends_the_run_and_closes_what_was_open(scripted_model: Scripted, traces: Path) -> None:
    model = scripted_model([LOOK, *[Say(calls=[("count_traces", {})], delay=30)] * 5])
    stream = stream_engine(ASK, config(model), traces)
    next(item for item in stream if isinstance(item, AgentOutputItem))
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 10
    ends = time.monotonic() + 10
    while model.in_flight:  # the connection is closed, so the server is not left answering
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert len(model.requests) <= 2


async def test_leaving_early_within_a_loop_leaves_no_task(scripted_model: Scripted, traces: Path) -> None:
    model = scripted_model([LOOK, *[Say(calls=[("count_traces", {})], delay=30)] * 5])
    stream = stream_engine_async(ASK, config(model), traces)
    async for _ in stream:
        break
    await stream.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_what_the_provider_refuses_is_raised_after_what_was_said(scripted_model: Scripted, traces: Path) -> None:
    stream = stream_engine_output(
        ASK, config(scripted_model([LOOK, Fault(401, "invalid_api_key", "a wrong key")])), traces
    )
    began = time.monotonic()
    seen = [next(stream), next(stream)]
    with pytest.raises(ModelError, match="a wrong key"):
        next(stream)
    assert [item.item.role for item in seen] == ["assistant", "tool"]
    assert time.monotonic() - began < 20


def test_turns_that_run_out_end_in_an_answer_that_says_so(scripted_model: Scripted, traces: Path) -> None:
    """The last turn offers nothing but the answer; a model that does not give one is answered for."""
    items = run_engine(ASK, config(scripted_model(lambda _: Say(calls=[("count_traces", {})])), turns=3), traces)
    assert items[-1].final
    assert "turns were used up" in str(items[-1].item.content)


def test_a_checkpoint_is_the_conversation_to_go_on_with(scripted_model: Scripted, traces: Path) -> None:
    *_, answer, checkpoint = stream_engine(
        ASK, config(scripted_model([LOOK, ANSWER]), emit_run_checkpoints=True), traces
    )
    assert isinstance(checkpoint, RunCheckpoint)
    assert checkpoint.sequence > answer.sequence
    assert checkpoint.messages[0] == ASK[0]
    assert [message.role for message in checkpoint.messages[1:4]] == ["assistant", "tool", "assistant"]


def test_telemetry_keeps_the_run_s_spans_in_a_data_directory_which_is_then_read_whole(
    scripted_model: Scripted, traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALO_STORE_DATA_DIR", str(tmp_path / "data"))
    run_engine(ASK, config(scripted_model([LOOK, ANSWER])), traces, telemetry=True)
    look = Say(calls=[("query_sql", {"sql": "SELECT name FROM spans"}), ("count_traces", {})])
    items = run_engine(ASK, config(scripted_model([look, ANSWER])), tmp_path / "data")
    assert "execute_tool get_dataset_overview" in str(items[1].item.content)
    assert '"total":1' in str(items[2].item.content)


@pytest.mark.parametrize("paths", [[], "absent.jsonl"])
def test_what_cannot_begin_is_said_before_a_model_is_asked(scripted_model: Scripted, paths: Any) -> None:
    model = scripted_model([ANSWER])
    with pytest.raises((ValueError, InputError)):
        run_engine(ASK, config(model), paths)
    assert model.requests == []


def test_a_repository_that_is_none_is_said_before_a_model_is_asked(
    scripted_model: Scripted, traces: Path, tmp_path: Path
) -> None:
    model = scripted_model([ANSWER])
    with pytest.raises(InputError, match="not a directory"):
        run_engine(ASK, config(model, repo_path=tmp_path / "absent"), traces)
    assert model.requests == []


def test_the_window_s_commits_stand_beside_its_traces(
    scripted_model: Scripted, traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is offered, and the commits of the traces' time are named before anything is asked."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ada")
    run = {"cwd": tmp_path, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q"], **run)
    for subject, at in (("long ago", 0), ("raise the limit", 20), ("after it all", 9_000)):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{flat_spans.START + at - (not at) * 86_400} +0000")
        subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", subject], **run)
    model = scripted_model([Say(calls=[("git_log", {"max_commits": 1})]), ANSWER])
    items = run_engine(ASK, config(model, repo_path=tmp_path), traces)
    first = model.requests[0].messages[1]["content"]
    assert "raise the limit" in first.split("the last before it")[0]
    assert "long ago" in first.split("the last before it")[1]
    assert "after it all" not in first
    assert "after it all" in str(items[1].item.content)
    assert "read_file" in model.requests[0].tools


def test_no_key_is_said(traces: Path) -> None:
    agent = AgentConfig(name="root", model=ModelConfig(name="m"), maximum_turns=1)
    with pytest.raises(ConfigError, match="neither a key nor a base URL"):
        run_engine(ASK, EngineConfig(root_agent=agent, subagent=agent), traces)


def test_a_configuration_of_halo_s_works_and_a_misspelt_one_does_not() -> None:
    model = {"name": "gpt-5.4-mini", "temperature": 0.2, "maximum_output_tokens": 100, "reasoning_effort": "low"}
    agent = {"name": "a", "model": model, "maximum_turns": 5, "refusal_retries": 1, "final_answer_reprompts": 2}
    whole = {
        "root_agent": agent, "subagent": agent, "synthesis_model": model, "compaction_model": model,
        "model_provider": {"base_url": "http://x", "api_key": "k", "default_headers": {"a": "b"}},
        "trace_index": {"index_dir": "/tmp/x"}, "text_message_compaction_keep_last_messages": 3,
        "tool_call_compaction_keep_last_turns": 1, "maximum_depth": 1, "maximum_parallel_subagents": 2,
        "emit_run_checkpoints": True, "dataset_context": "c", "repo_path": "/tmp",
    }  # fmt: skip
    assert EngineConfig.model_validate(whole).root_agent.model.reasoning_effort == "low"
    assert "api_key" not in repr(ModelProviderConfig(api_key="hunter2"))
    with pytest.raises(ValidationError, match="max_turns"):
        AgentConfig.model_validate({**agent, "max_turns": 3})


def test_a_script_needs_no_guard(scripted_model: Scripted, traces: Path, tmp_path: Path) -> None:
    """Nothing imports the caller's script a second time."""
    script = tmp_path / "script.py"
    url = scripted_model([Say(calls=[("run_code", {"code": "print(count_traces())"})]), ANSWER]).base_url
    script.write_text(
        textwrap.dedent(f"""
        print("imported")
        from halo_worker.api import *
        agent = AgentConfig(name="root", model=ModelConfig(name="scripted"), maximum_turns=5)
        provider = ModelProviderConfig(base_url={url!r}, api_key="none")
        config = EngineConfig(root_agent=agent, subagent=agent, model_provider=provider)
        print(run_engine([AgentMessage(role="user", content="Why?")], config, {str(traces)!r})[-1].item.content)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "imported\nThey are above the limit.\n"), done.stderr


def test_analyze_returns_the_report_and_publishes_nothing(traces: Path, tmp_path: Path) -> None:
    report = analyze(traces)
    assert (report.engine.mode, report.status) == ("detectors", "complete")
    assert report.coverage.traces == 40
    assert report.totals.error_traces
    inputs.import_files([str(traces)], tmp_path / "data", now_ns=time.time_ns(), arrival="now", say=print)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert analyze(tmp_path / "data").coverage.traces == 40
    assert analyze(tmp_path / "data", until=datetime(2020, 1, 1, tzinfo=UTC)).coverage.traces == 0
    assert analyze(tmp_path / "data", since="2020-01-01", engine="detectors").coverage.traces == 40
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    with pytest.raises(InputError, match="for a data directory"):
        analyze(traces, since="2020-01-01")
    with pytest.raises(InputError, match="not a time"):
        analyze(tmp_path / "data", since="yesterday")


def test_analyze_answers_a_question_with_a_model(scripted_model: Scripted, traces: Path) -> None:
    report = analyze(
        traces, prompt="Why do refunds fail?", engine=config(scripted_model([LOOK, ANSWER])), budget={"max_turns": 4}
    )
    assert report.answer == "They are above the limit."
    assert (report.engine.mode, report.engine.turns) == ("rlm", 2)


def test_a_window_that_is_small_but_not_for_the_model_is_worked_by_the_loop(
    scripted_model: Scripted, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_long = Fault(400, "context_length_exceeded", "request (17390 tokens) exceeds the available context size")
    model = scripted_model([too_long, ANSWER])
    monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
    monkeypatch.setenv("HALO_ANALYSIS_ROUTE", "direct")
    report = analyze(traces, prompt="Why do refunds fail?", engine="rlm")
    assert report.answer == "They are above the limit."
    assert (report.status, report.engine.route) == ("complete", "loop")
    assert "too small for the direct route" in str(report.engine.route_reason)
