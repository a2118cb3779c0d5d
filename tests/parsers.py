"""Every parser that takes a stranger's bytes: what it may raise, and well-formed input to start from.

tests/test_parsers.py gives them what hypothesis makes up, benchmarks/fuzz.py what atheris finds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from halo_receiver import conventions, decode, request_check, spool
from halo_receiver.files import read_files
from halo_receiver.store import manifest
from halo_receiver.store.segment import SegmentName
from halo_worker.errors import ReportError
from halo_worker.report.archive import AFFECTED_FILE, REPORT_FILE, Archive
from halo_worker.report.decisions import DECISIONS_FILE, Decisions
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
}
