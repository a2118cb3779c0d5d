"""Sessions of coding agents on disk: what was asked, done and answered is there as spans, each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.worker.conftest import Halo

MODEL = "claude-sonnet-4-5"
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 7}


class Session:
    """Writes the lines of a Claude Code session, a second apart."""

    def __init__(self, session: str, *, version: str = "2.1.12", **common: Any) -> None:
        self.common = {"sessionId": session, "version": version, "cwd": "/src/app", "gitBranch": "main"} | common
        self.lines: list[dict[str, Any]] = []

    def add(self, kind: str, **entry: Any) -> None:
        number = len(self.lines)
        at = f"2026-03-01T10:{number // 60:02}:{number % 60:02}.000Z"
        self.lines.append(self.common | {"type": kind, "uuid": f"{self.common['sessionId']}-{number}",
                                         "timestamp": at} | entry)  # fmt: skip

    def says(self, text: str, **entry: Any) -> None:
        self.add("user", message={"role": "user", "content": text}, **entry)

    def answers(self, message_id: str, *blocks: dict[str, Any], stop: str | None = None) -> None:
        """Write an answer as Claude Code does: a line for each block, each with the usage."""
        for place, block in enumerate(blocks):
            done = place == len(blocks) - 1
            usage = USAGE | ({} if done else {"output_tokens": 1})
            self.add("assistant", message=answer(message_id, block, stop_reason=stop if done else None, usage=usage))

    def gives(self, call: str, text: str, *, error: bool = False, result: Any = None) -> None:
        block = {"type": "tool_result", "tool_use_id": call, "content": text, "is_error": error}
        self.add("user", message={"role": "user", "content": [block]}, toolUseResult=result or text)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")


def answer(message_id: str, block: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": message_id, "role": "assistant", "model": MODEL, "content": [block]} | more


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def use(call: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def claude_code(folder: Path) -> None:
    """A prompt worked with a failing tool and a subagent, a second prompt that fails at the API, and side files."""
    main = Session("s1")
    main.add("file-history-snapshot", snapshot={})
    main.says("Fix the tests")
    main.answers("m1", {"type": "thinking", "thinking": "run them", "signature": "x" * 500}, text("I run them."),
                 use("t1", "Bash", command="make test"), use("t2", "Task", prompt="Find it", subagent_type="Explore"),
                 stop="tool_use")  # fmt: skip
    main.gives("t1", "Exit code 2\nmake: no rule", error=True)
    main.gives("t2", "It is in a.py", result={"agentId": "ab12", "status": "completed"})
    main.answers("m2", text("Fixed in a.py."), stop="end_turn")
    main.says("Now release it")
    main.add("system", subtype="api_error", error={"status": 529, "message": "Overloaded"})
    said = answer("e1", text("You hit your limit"), model="<synthetic>")
    main.add("assistant", isApiErrorMessage=True, error="rate_limit", message=said)
    main.write(folder / "-src-app" / "s1.jsonl")
    sub = Session("s1", agentId="ab12", isSidechain=True)
    sub.says("Find it")
    sub.answers("m9", use("t9", "Grep", pattern="rule"), stop="tool_use")
    sub.gives("t9", "a.py:1")
    sub.answers("m10", text("It is in a.py"), stop="end_turn")
    sub.write(folder / "-src-app" / "s1" / "subagents" / "agent-ab12.jsonl")
    (folder / "-src-app" / "s1" / "subagents" / "agent-ab12.meta.json").write_text("{}")


SPANS = """SELECT span_type AS type, s.name, agent_name, status_code, error_type, tool_name, input_tokens AS tokens,
    output_tokens AS out, input_text, output_text, session_id, finish_reason, s.trace_id,
    (SELECT p.name FROM spans p WHERE p.span_id = s.parent_span_id) AS parent
    FROM spans s ORDER BY start_time, span_id"""


def spans(halo: Halo) -> list[dict[str, Any]]:
    done = halo("query", SPANS, "--format", "json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)
    return rows


def one(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    [row] = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_a_session_of_claude_code_is_turns_calls_and_tools(halo: Halo, tmp_path: Path) -> None:
    """Each prompt is a trace; what a subagent did lies below the call that started it, wherever its file lies."""
    claude_code(tmp_path / "projects")
    done = halo("import", "--from", "claude-code", "projects")
    assert done.code == 0, done.err
    assert "imported 12 spans" in done.err
    assert "warning" not in done.err
    rows = spans(halo)
    assert len(rows) == 12
    assert len({row["trace_id"] for row in rows}) == 2
    assert {row["session_id"] for row in rows} == {"s1"}
    turn = one(rows, name="invoke_agent claude-code", status_code="UNSET")
    assert "Fix the tests" in turn["input_text"]
    assert "Fixed in a.py." in turn["output_text"]
    bash = one(rows, tool_name="Bash")
    assert (bash["status_code"], bash["error_type"]) == ("ERROR", "tool_error")
    assert "no rule" in bash["output_text"]
    assert json.loads(bash["input_text"]) == {"command": "make test"}
    explore = one(rows, agent_name="Explore", type="agent")
    assert explore["parent"] == "execute_tool Task"
    assert explore["trace_id"] == turn["trace_id"]
    assert one(rows, tool_name="Grep")["parent"] == explore["name"]
    first, *_ = [row for row in rows if row["type"] == "llm"]
    assert (first["tokens"], first["out"], first["finish_reason"]) == (115, 7, "tool_calls")
    failed = one(rows, name="invoke_agent claude-code", status_code="ERROR")
    assert failed["error_type"] == "rate_limit"
    assert "Now release it" in failed["input_text"]
    assert [row["error_type"] for row in rows if row["type"] == "llm" and row["status_code"] == "ERROR"] == [
        "529", "rate_limit",
    ]  # fmt: skip


def test_importing_a_session_again_or_its_fork_adds_nothing(halo: Halo, tmp_path: Path) -> None:
    """Whoever imports every night sees each span once, and a session that was forked is not counted twice."""
    claude_code(tmp_path / "projects")
    halo("import", "--from", "claude-code", "projects")
    before = spans(halo)
    lines = (tmp_path / "projects/-src-app/s1.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "projects/-src-app/fork.jsonl").write_text("".join(lines[:6]).replace('"s1"', '"s2"'))
    assert halo("import", "--from", "claude-code", "projects").code == 0
    assert [row["name"] for row in spans(halo)] == [row["name"] for row in before]


def test_a_run_reads_sessions_in_place_and_finds_what_failed(halo: Halo, tmp_path: Path) -> None:
    claude_code(tmp_path / "projects")
    done = halo("run", "--from", "claude-code", "projects", "--detectors-only", "--format", "json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["coverage"]["spans"] == 12
    assert any("Bash" in finding["title"] for finding in report["findings"]), report["findings"]


def test_old_sessions_hold_their_subagents_in_the_same_file(halo: Halo, tmp_path: Path) -> None:
    main = Session("s3", version="1.0.80")
    main.says("Look around")
    main.answers("m1", use("t1", "Task", prompt="Count files", subagent_type="general-purpose"))
    main.says("Count files", isSidechain=True, parentUuid=None)
    main.add("assistant", isSidechain=True, parentUuid="s3-2", message=answer("m5", text("Three."), usage=USAGE))
    main.gives("t1", "Three.")
    main.answers("m2", text("There are three."))
    main.says("[Request interrupted by user]")
    main.write(tmp_path / "s3.jsonl")
    assert halo("import", "--from", "claude-code", "s3.jsonl").code == 0
    rows = spans(halo)
    assert one(rows, agent_name="general-purpose", type="agent")["parent"] == "execute_tool Task"
    assert len(rows) == 6
    assert len({row["trace_id"] for row in rows}) == 1


def codex(folder: Path, **meta: Any) -> Path:
    """A turn with a command that fails and a thread that it spawned, whose file was written by the child."""
    path = folder / "2026/03/01/rollout-2026-03-01T10-00-00-p.jsonl"
    rollout(path, [
        ("session_meta", {"id": "p", "cwd": "/src", "cli_version": "0.150.0", "source": "cli"} | meta),
        ("event_msg", {"type": "task_started", "turn_id": "u1"}),
        ("turn_context", {"turn_id": "u1", "model": "gpt-5-codex", "cwd": "/src"}),
        ("response_item", message("user", "input_text", "<environment_context>x</environment_context>")),
        ("response_item", message("user", "input_text", "List the files")),
        ("event_msg", {"type": "user_message", "message": "List the files"}),
        ("response_item", {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Use ls"}],
                           "encrypted_content": "A" * 100}),
        ("response_item", call("c1", "shell", {"command": ["ls", "nope"]})),
        ("response_item", call("c2", "spawn_agent", {"message": "Count"})),
        ("event_msg", {"type": "token_count", "info": {"last_token_usage": {
            "input_tokens": 90, "cached_input_tokens": 60, "output_tokens": 12, "reasoning_output_tokens": 4}}}),
        ("response_item", output("c1", json.dumps({"output": "ls: nope: not found\n", "metadata": {"exit_code": 2}}))),
        ("response_item", output("c2", json.dumps({"agent_id": "child"}))),
        ("response_item", message("assistant", "output_text", "It is not there.")),
        ("event_msg", {"type": "token_count", "info": None}),
        ("event_msg", {"type": "task_complete", "turn_id": "u1"}),
    ])  # fmt: skip
    spawned = {"parent_thread_id": "p", "agent_role": "counter"}
    rollout(folder / "2026/03/01/rollout-2026-03-01T09-00-00-child.jsonl", [
        ("session_meta", {"id": "child", "cli_version": "0.150.0", "source": {"subagent": {"thread_spawn": spawned}}}),
        ("turn_context", {"turn_id": "u2", "model": "gpt-5-codex"}),
        ("response_item", message("user", "input_text", "Count")),
        ("response_item", call("c9", "exec_command", {"cmd": "ls"})),
        ("response_item", output("c9", "Chunk ID: 1\nWall time: 0.1 seconds\nProcess exited with code 0\nOutput:\na")),
        ("response_item", message("assistant", "output_text", "One.")),
    ])  # fmt: skip
    return path


def rollout(path: Path, lines: list[tuple[str, dict[str, Any]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(
        json.dumps({"timestamp": f"2026-03-01T10:00:{place:02}.000Z", "type": kind, "payload": payload}) + "\n"
        for place, (kind, payload) in enumerate(lines)
    ))  # fmt: skip


def message(role: str, kind: str, said: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": said}]}


def call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def output(call_id: str, said: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def test_a_session_of_codex_is_turns_calls_and_tools(halo: Halo, tmp_path: Path) -> None:
    codex(tmp_path / "sessions")
    done = halo("import", "--from", "codex", "sessions")
    assert done.code == 0, done.err
    assert "imported 9 spans" in done.err
    assert "warning" not in done.err
    rows = spans(halo)
    assert len(rows) == 9
    assert len({row["trace_id"] for row in rows}) == 1
    turn = one(rows, name="invoke_agent codex")
    assert "List the files" in turn["input_text"]
    assert "It is not there." in turn["output_text"]
    shell = one(rows, tool_name="shell")
    assert (shell["error_type"], shell["output_text"]) == ("exit_code_2", "ls: nope: not found\n")
    assert one(rows, agent_name="counter", type="agent")["parent"] == "execute_tool spawn_agent"
    assert one(rows, tool_name="exec_command")["status_code"] == "UNSET"
    assert [(row["tokens"], row["out"]) for row in rows if row["type"] == "llm" and row["tokens"]] == [(90, 12)]


def test_what_is_no_transcript_is_named_in_one_line(halo: Halo, tmp_path: Path) -> None:
    """Another version, another program's file, a torn line: what, which, and what to do; the rest is read."""
    folder = tmp_path / "projects"
    claude_code(folder)
    later = Session("s9", version="9.0.1")
    later.says("hello")
    later.answers("m1", text("hi"), stop="end_turn")
    later.write(folder / "later.jsonl")
    (folder / "other.jsonl").write_text('{"a": 1}\n{"torn\n')
    done = halo("import", "--from", "claude-code", "projects")
    assert done.code == 0
    assert "imported 14 spans" in done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 3
    assert any("later.jsonl: written by Claude Code 9.0.1" in line and "newer halo" in line for line in warnings)
    assert any("other.jsonl: is no transcript of Claude Code" in line for line in warnings)
    assert any("other.jsonl:2: " in line for line in warnings)
    old = tmp_path / "old.jsonl"
    old.write_text(
        '{"id":"a","timestamp":"2025-06-01T00:00:00Z","instructions":null}\n{"type":"message","role":"user"}\n'
    )
    refused = halo("import", "--from", "codex", "old.jsonl")
    assert refused.code == 2
    assert "the Codex CLI before 0.31" in refused.err
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("x")
    refused = halo("import", "--from", "codex", "empty")
    assert refused.code == 2
    assert "no transcripts of the Codex CLI in empty" in refused.err


def test_without_a_directory_the_programs_own_is_read(halo: Halo, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "config"))
    refused = halo("import", "--from", "claude-code")
    assert refused.code == 2
    assert "config/projects" in refused.err
    assert "name the directory" in refused.err
    claude_code(tmp_path / "config" / "projects")
    assert "imported 12 spans" in halo("import", "--from", "claude-code").err
