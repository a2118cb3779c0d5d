"""Every parser that takes a stranger's bytes: what it may raise, and well-formed input to start from.

tests/test_parsers.py gives them what hypothesis makes up, benchmarks/fuzz.py what atheris finds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from benchmarks.clickhouse import packed
from halo_receiver import conventions, decode, request_check, spool, wire
from halo_receiver.batch_tables import Tables
from halo_receiver.files import read_files
from halo_receiver.store import manifest, tombstones
from halo_receiver.store.segment import SegmentName
from halo_worker import pull, source
from halo_worker.alerts.journal import JOURNAL_FILE, Journal, episodes, shortened
from halo_worker.analysis import expectations
from halo_worker.analysis.detectors import rules
from halo_worker.coding_agents import registration
from halo_worker.config import load_settings
from halo_worker.delivery import courier
from halo_worker.errors import ConfigError, InputError, ReportError, StoreError
from halo_worker.report.archive import AFFECTED_FILE, REPORT_FILE, Archive
from halo_worker.report.decisions import DECISIONS_FILE, Decisions
from halo_worker.rlm import trajectory
from halo_worker.rlm.agent.checkpoint import NAME, Checkpoint
from halo_worker.source import row_binary
from tests.fixtures_receiver import trace_request

RUN_ID = "20261127-060000-abcd"
ISSUE = "0123456789ab"
_SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat", "kind": 3,
    "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000001000000000",
    "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}],
}  # fmt: skip
_JSON = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [_SPAN]}]}]}).encode()
_FLAT = json.dumps({
    "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174", "name": "chat",
    "start_time": "2026-11-27T06:00:00Z", "end_time": "2026-11-27T06:00:01Z", "attributes": {"llm.model_name": "m"},
}).encode()  # fmt: skip
_DECISION = json.dumps({
    "issue_id": ISSUE, "action": "mute", "at_ns": 1_790_000_000_000_000_000, "by": "someone", "because": "known",
}).encode()  # fmt: skip
_ENTRY = json.dumps([{
    "name": str(SegmentName.at(1_790_000_000_000_000_000, 1)), "bytes": 1, "spans": 1, "logs": 0, "schema": 2,
    "mapping": 4, "first_received_ns": 1, "last_received_ns": 2, "services": ["a"], "services_complete": True,
    "traces": None, "replaces": [], "position": [1, 2], "mended": {},
}]).encode()  # fmt: skip
_TURN = {"sessionId": "s1", "version": "2.1.12", "cwd": "/src", "timestamp": "2026-03-01T10:00:00.000Z"}
_CLAUDE_CODE = b"\n".join(json.dumps(_TURN | line).encode() for line in (
    {"type": "user", "uuid": "u1", "message": {"role": "user", "content": "Fix it"}},
    {"type": "assistant", "uuid": "u2", "message": {
        "id": "m1", "role": "assistant", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "make"}}]}},
    {"type": "user", "uuid": "u3", "message": {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": "done", "is_error": False}]}},
))  # fmt: skip
_CODEX = b"\n".join(
    json.dumps({"timestamp": "2026-03-01T10:00:00.000Z", "type": kind, "payload": payload}).encode()
    for kind, payload in (
        ("session_meta", {"id": "c1", "cwd": "/src", "cli_version": "0.99.0", "timestamp": "2026-03-01T10:00:00Z"}),
        ("turn_context", {"model": "gpt-5-codex", "cwd": "/src"}),
        ("event_msg", {"type": "user_message", "message": "Fix it"}),
        ("response_item", {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "k1"}),
        ("response_item", {"type": "function_call_output", "call_id": "k1", "output": "done"}),
        ("event_msg", {"type": "token_count", "info": {"last_token_usage": {"input_tokens": 1, "output_tokens": 2}}}),
        ("event_msg", {"type": "agent_message", "message": "Fixed"}),
    )
)
_AT = {"start_time": "2026-03-01T10:00:00Z", "end_time": "2026-03-01T10:00:01Z"}
_EXPORTS = {
    "langfuse": {
        "id": "o1", "traceId": "t1", "type": "GENERATION", "name": "chat", "startTime": "2026-03-01T10:00:00Z",
        "input": [{"role": "user", "content": "hi"}], "usageDetails": {"input": 1}, "metadata": {"a": 1},
    },
    "phoenix": {
        "context": {"trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174"}, "name": "chat",
        "span_kind": "LLM", "attributes": {"llm.model_name": "m"}, "events": [{"name": "exception"}], **_AT,
    },
    "langsmith": {
        "id": "r1", "trace_id": "r1", "run_type": "llm", "name": "chat", "inputs": {}, "outputs": {"a": 1},
        "extra": {"metadata": {"a": 1}, "invocation_params": {"model": "m"}}, "child_runs": [], **_AT,
    },
}  # fmt: skip
_RULE = b"""---
name = "slow_tool"
category = "Timeout Issues"
title = "A tool is slow"
description = "d"
definition = "d"
fix = "f"
validation = "v"
source = "s"
limits = "l"
---
SELECT trace_id, span_id FROM calls
---
[[example]]
name = "one"
"""
_ROW = packed([
    "5", "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "", "chat", "Client", "Ok", 7, {"a": "1.5"},
    {"service.name": "s"}, "", "scope", "1", "", [1], ["e"], [{"k": "v"}], [], [], [], [],
])  # fmt: skip
FILES_OF_AGENTS: dict[registration.Form, bytes] = {
    "json": b'{"servers": {"db": {"command": "x"}}}',
    "toml": b'[servers.db]\ncommand = "x"\n',
}
_LOOK = json.dumps({
    "version": 1, "alert": "a", "start_ns": 1, "end_ns": 2, "of": 3, "found": {ISSUE: 1},
    "events": [{"what": "opened", "episode": "e", "issue_id": ISSUE, "at_ns": 2, "counted": [1, 3]}],
}).encode()  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parser:
    """`read` is given any bytes at all; it may raise `refuses` and nothing else."""

    read: Callable[[bytes], object]
    samples: tuple[bytes, ...]
    refuses: tuple[type[Exception], ...] = ()


def _decoded(encoding: decode.Encoding) -> Callable[[bytes], object]:
    def read(body: bytes) -> None:
        for kind, decoded in (("traces", decode.decode_traces), ("logs", decode.decode_logs)):
            try:
                request_check.check(kind, encoding, body)
            except decode.Undecodable:
                continue
            for span in decoded(body, encoding=encoding).spans:  # what was acknowledged can be stored
                conventions.canonical(span)

    return read


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Write the bytes to a file of that name in an empty folder; `read` is given the folder."""

    def from_bytes(body: bytes) -> object:
        with tempfile.TemporaryDirectory(prefix="halo-parser-") as folder:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            return read(Path(folder))

    return from_bytes


def _frames(folder: Path) -> Iterator[object]:
    end = 0
    for item in spool.read_file(folder, 1, 0):
        assert item.end.offset > end, "it does not advance"
        end = item.end.offset
        yield item


def _scanned(body: bytes) -> None:
    """By the wire scanner, which may hand a request on to the reference decoder."""
    tables = Tables(max_attribute_bytes=2**16)
    tables.add("traces", "protobuf", body, 1)
    tables.take()


def _rows(body: bytes) -> None:
    """By both, which must agree on how many rows there are."""
    counted = []
    for rows in (wire.rows(), None):
        with mock.patch.object(wire, "rows", lambda rows=rows: rows):
            requests = row_binary.Requests([body], nested=False, all_text=True)
            bodies = [request.body for request in requests]
        counted.append(requests.rows)
        for one in bodies:
            items = decode.each("traces", one, encoding="protobuf", repair=decode.Repair(2**16))
            assert all(item is not None for item in items)
    assert counted[0] == counted[1]


def _read_as(form: str) -> Callable[[bytes], object]:
    return _in_file("s.jsonl", lambda folder: [*source.read([folder / "s.jsonl"], form)])


def _registered(form: registration.Form) -> Callable[[bytes], object]:
    entry = {"command": "halo", "args": ["mcp"]}
    return lambda body: registration.registered(body.decode("utf-8"), form, "servers", "halo", entry)


def _journal(folder: Path) -> None:
    looks = Journal(folder).read()
    episodes(shortened(looks, 10**18))


def _archive(folder: Path) -> None:
    archive = Archive(folder)
    archive.reports()
    archive.watermark("daily")
    archive.load(RUN_ID)


_FRAME = b"".join(
    spool.encode(kind="traces", encoding="protobuf", compression="none", arrival_ns=1, body=trace_request((1, 1)))
)

PARSERS = {
    "protobuf": Parser(_decoded("protobuf"), (trace_request((1, 1), (2, 2)),), (decode.Undecodable,)),
    "json": Parser(_decoded("json"), (_JSON,), (decode.Undecodable,)),
    "trace file": Parser(
        _in_file("traces.jsonl", lambda folder: [*read_files([folder / "traces.jsonl"])]),
        (_FLAT + b"\n" + _FLAT, _JSON + b"\n" + _JSON, trace_request((1, 1))),
    ),
    "spool frames": Parser(_in_file(spool.file_name(1), lambda folder: [*_frames(folder)]), (_FRAME, _FRAME * 2)),
    "manifest": Parser(_in_file(manifest.CACHE_FILE, lambda folder: manifest.load(folder, [], write=True)), (_ENTRY,)),
    "decisions": Parser(_in_file(DECISIONS_FILE, lambda folder: Decisions(folder).read()), (_DECISION,)),
    "report.json": Parser(_in_file(f"{RUN_ID}/{REPORT_FILE}", _archive), (b'{"schema_version": 1}',), (ReportError,)),
    "affected.jsonl": Parser(
        _in_file(f"{RUN_ID}/{AFFECTED_FILE}", lambda folder: Archive(folder).affected_traces(RUN_ID, ISSUE)),
        (json.dumps({"issue_id": ISSUE, "trace_id": "5b8efff798038103d269b633813fc60c"}).encode(),),
    ),
    "rows of ClickHouse": Parser(_rows, (_ROW, _ROW * 2), (ValueError,)),
    "wire scanner": Parser(_scanned, (trace_request((1, 1), (2, 2)),), (decode.Undecodable,)),
    "claude-code": Parser(_read_as("claude-code"), (_CLAUDE_CODE,)),
    "codex": Parser(_read_as("codex"), (_CODEX,)),
    **{form: Parser(_read_as(form), (json.dumps(record).encode(),)) for form, record in _EXPORTS.items()},
    "expectations": Parser(
        _in_file("e.md", lambda folder: expectations.read(folder / "e.md")),
        (b"- E1 (agent: refunds): never promise a date\n  ```sql\n  SELECT 1\n  ```\n",),
        (ConfigError,),
    ),
    "detector": Parser(
        lambda body: rules.parse(body.decode("utf-8", "replace"), "slow_tool.sql"), (_RULE,), (rules.RuleError,)
    ),
    "settings": Parser(
        _in_file("halo.toml", lambda folder: load_settings(file=folder / "halo.toml", environment={})),
        (b'[receiver]\ngrpc_endpoint = "127.0.0.1:4317"\n',),
        (ConfigError,),
    ),
    **{
        f"agent's {form}": Parser(_registered(form), (sample,), (InputError, UnicodeDecodeError))
        for form, sample in FILES_OF_AGENTS.items()
    },
    "alerts": Parser(_in_file(JOURNAL_FILE, _journal), (_LOOK,)),
    "tombstones": Parser(_in_file(tombstones.FILE, tombstones.read), (b'{"at_ns": 1, "traces": ["ab"]}',)),
    "pull state": Parser(
        _in_file("s.json", lambda folder: pull._read_state(folder / "s.json")),
        (b'{"since_ns": 1, "until_ns": 2, "moving": ["1-spans-20260301T100000Z-000001.duckdb"], "cursor": {"a": 1}}',),
        (StoreError,),
    ),
    "receipt": Parser(
        _in_file("slack.json", lambda folder: courier._due(courier._read(folder / "slack.json"))),
        (b'{"state": "waiting", "next": 1.5, "attempts": 2}',),
    ),
    "trajectory": Parser(
        _in_file("t.jsonl", lambda folder: trajectory.spent(folder / "t.jsonl")),
        (b'{"kind": "asked", "call": 1, "input_tokens": 5}\n{"kind": "model", "call": 1, "elapsed": 1.5}\n',),
    ),
    "checkpoint": Parser(_in_file(NAME, lambda folder: Checkpoint(folder).load()), (b'{"version": 1, "turn": 2}',)),
}
