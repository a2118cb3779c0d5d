"""What is stored is told to whoever watches, while nothing is sealed for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

from halo_receiver import tail as tail_module
from halo_receiver.batch_tables import Tables
from halo_receiver.otlp_messages import TraceRequest
from halo_receiver.pb.segments_pb2 import SpanSummary, TailRequest, TailResponse
from halo_receiver.recent_spans import LEAST_SPANS, RecentSpans
from halo_receiver.store.segment import listed
from halo_receiver.store.summaries import rows
from halo_receiver.store.trace_list import Filters
from halo_receiver.tail import Tail, TooManyViewers
from halo_worker import segments_client
from halo_worker.live_traces import QUIET_SECONDS, LiveTraces
from tests.fixtures_receiver import ReceiverProcess, eventually, trace_request

READ = "read-key-of-length"
TAIL = "/halo.v1.Segments/Tail"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(
        tmp_path_factory.mktemp("tail") / "data", HALO_AUTH_READ_KEYS=READ, HALO_AUTH_METRICS_OPEN="true"
    )
    yield process
    process.kill()


def agent_trace(number: int, *, agent: str = "clerk", failed: bool = False) -> bytes:
    """A model call and its tool below an agent's span, sent in the order in which they end."""
    request = TraceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key=b"service.name", value={"string_value": b"shop"})
    scope_spans = resource_spans.scope_spans.add()
    facts: tuple[tuple[int, str, dict[str, str | int]], ...] = (
        (2, "TOOL", {"tool.name": "refund", "output.value": "done"}),
        (3, "LLM", {"llm.model_name": "gpt-5.4", "llm.token_count.prompt": 1200, "llm.token_count.completion": 30}),
        (1, "AGENT", {"agent.name": agent, "input.value": f"coat 注文 \x1b[2J {number}", "user.id": "ann"}),
    )
    for span, kind, attributes in facts:
        message = scope_spans.spans.add()
        message.trace_id, message.span_id = number.to_bytes(16, "big"), (number * 16 + span).to_bytes(8, "big")
        message.parent_span_id = b"" if span == 1 else (number * 16 + 1).to_bytes(8, "big")
        message.name = f"{kind.lower()} {number}".encode()
        message.start_time_unix_nano, message.end_time_unix_nano = time.time_ns() - 10**9, time.time_ns()
        message.status.code = 2 if failed and kind == "TOOL" else 1
        for key, value in {"openinference.span.kind": kind, **attributes}.items():
            told = {"int_value": value} if isinstance(value, int) else {"string_value": str(value).encode()}
            message.attributes.add(key=key.encode(), value=told)
    return bytes(request.SerializeToString())


@contextlib.contextmanager
def deadline(end: Callable[[], object]) -> Iterator[None]:
    """End what is waited for when it does not come: a test fails then, and does not hang."""
    timer = threading.Timer(60, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def spans_of(messages: Iterator[TailResponse], wanted: int) -> list[SpanSummary]:
    found: list[SpanSummary] = []
    with deadline(messages.cancel):  # type: ignore[attr-defined]
        while len(found) < wanted:
            found += next(messages).spans
    return found


def test_a_viewer_gets_what_was_stored_before_and_then_what_comes_and_nothing_is_sealed(
    receiver: ReceiverProcess,
) -> None:
    receiver.export(agent_trace(1))
    eventually(lambda: receiver.metric("halo_loader_events_total") >= 3)
    sealed = len(listed(receiver.data_dir / "segments"))
    with segments_client.tail(receiver.data_dir, recent=100) as messages:
        before = spans_of(messages, 3)
        assert [span.trace_id[-1] for span in before] == ["1"] * 3
        receiver.export(agent_trace(2))
        came = spans_of(messages, 3)
    [root] = [span for span in came if not span.parent_span_id]
    assert (root.service, root.agent, root.user, root.span_type, root.status) == ("shop", "clerk", "ann", "agent", "OK")
    assert root.input == "coat 注文 \x1b[2J 2"
    [call] = [span for span in came if span.model]
    assert (call.model, call.input_tokens, call.output_tokens) == ("gpt-5.4", 1200, 30)
    assert call.duration_nano > 0
    assert len(listed(receiver.data_dir / "segments")) == sealed


@pytest.mark.parametrize(
    ("key", "code"), [(READ, None), ("wrong", grpc.StatusCode.UNAUTHENTICATED), (None, grpc.StatusCode.UNAUTHENTICATED)]
)
def test_spans_are_told_to_readers_alone(
    receiver: ReceiverProcess, key: str | None, code: grpc.StatusCode | None
) -> None:
    receiver.export(agent_trace(3))
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    with grpc.insecure_channel(receiver.grpc) as channel:
        call = channel.unary_stream(TAIL)(TailRequest(recent=9).SerializeToString(), metadata=metadata, timeout=60)
        if code is None:
            assert any(TailResponse.FromString(body).spans for body in call)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is code
        call.cancel()


def test_a_viewer_stays_when_the_loader_is_started_again_and_is_told_when_the_receiver_stops(tmp_path: Path) -> None:
    process = ReceiverProcess(tmp_path / "data")  # no key: the token in receiver.json is needed all the same
    with grpc.insecure_channel(process.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        next(channel.unary_stream(TAIL)(b"", timeout=20))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with segments_client.tail(process.data_dir, recent=0) as messages, deadline(process.kill):
        eventually(lambda: process.export(agent_trace(1)) is not None)
        spans_of(messages, 3)
        os.kill(process.loader, signal.SIGKILL)
        eventually(lambda: process.metric("halo_loader_restarts_total") == 1)
        process.export(agent_trace(2))
        assert {span.trace_id[-1] for span in spans_of(messages, 3)} == {"2"}
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError, match="the receiver stops"):
            list(messages)
    process.process.wait(60)
    process.kill()


def halo_tail(data_dir: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "halo_worker", "tail", "--data-dir", str(data_dir), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_halo_tail_shows_a_line_a_trace_and_ends_clean_on_an_interrupt(receiver: ReceiverProcess) -> None:
    table = halo_tail(receiver.data_dir, "--agent", "coder", "-n", "1")
    json_rows = halo_tail(receiver.data_dir, "--agent", "coder", "--errors", "--format", "json", "-n", "9")
    try:
        assert table.stdout is not None
        assert json_rows.stdout is not None
        for number in (4, 5):
            receiver.export(agent_trace(number))
        receiver.export(agent_trace(6, agent="coder", failed=True))
        with deadline(table.kill), deadline(json_rows.kill):
            head, line, found = table.stdout.readline(), table.stdout.readline(), json_rows.stdout.readline()
        assert head.split() == ["id", "when", "agent", "input", "err", "tokens", "cost", "took"]
        assert line.startswith("00000000")
        assert "coder" in line
        assert "1230" in line or "1.2k" in line
        assert "\x1b" not in line
        assert max(len(head.rstrip()), len(line.rstrip())) <= 80
        row = json.loads(found)
        assert (row["trace_id"][-1], row["agent_names"], row["error_count"]) == ("6", ["coder"], 1)
    finally:
        for process in (table, json_rows):
            process.send_signal(signal.SIGINT)
    for process in (table, json_rows):
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


def test_without_a_receiver_one_line_says_so_and_one_what_to_do(tmp_path: Path) -> None:
    process = halo_tail(tmp_path)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert errors.splitlines() == [
        f"error: no receiver is running on {tmp_path}",
        "hint:  'halo up' starts one; 'halo traces' lists what is stored",
    ]


async def test_a_viewer_that_does_not_read_loses_the_oldest_and_is_told_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[dict[str, object]] = []
    tail = Tail(told.append)
    reading = tail.messages(0)
    first = reading.__anext__()
    task = asyncio.ensure_future(first)
    await asyncio.sleep(0)
    assert told == [{"do": "watch", "viewer": 1, "recent": 0}]
    told_by_loader: list[dict[str, object]] = []
    recent = RecentSpans(told_by_loader.append)
    recent.watch(1, 0)
    spans = table(*((1, number) for number in range(1, 101)))
    recent.add(spans)
    tail.hear(told_by_loader[0])
    monkeypatch.setattr(tail_module, "MAX_QUEUE_BYTES", 100)
    for _ in range(5):
        tail.hear(told_by_loader[1])
    missed = TailResponse.FromString(await task).missed
    async for body in reading:
        message = TailResponse.FromString(body)
        missed += message.missed
        if message.spans:
            break
    assert missed == 400
    monkeypatch.setattr(tail_module, "MAX_VIEWERS", 1)
    with pytest.raises(TooManyViewers):
        await tail.messages(0).__anext__()
    await reading.aclose()
    assert told[-1] == {"do": "unwatch"}


def table(*ids: tuple[int, int]) -> pa.Table:
    tables = Tables(max_attribute_bytes=2**20)
    tables.add("traces", "protobuf", trace_request(*ids), 10**18)
    return tables.take()[0]


def test_of_more_than_can_be_told_whole_traces_are_and_the_rest_is_counted() -> None:
    told: list[dict[str, object]] = []
    moments = iter([0.0, 0.0, 1.0])
    recent = RecentSpans(told.append, clock=lambda: next(moments))
    recent.watch(1, 0)
    recent.add(table(*((trace, span) for trace in range(1, 257) for span in range(1, 5))))
    bodies = [TailResponse.FromString(base64.b64decode(str(one["told"]))) for one in told[1:]]
    spans = Counter(span.trace_id for body in bodies for span in body.spans)
    assert sum(body.missed for body in bodies) == 4 * 256 - spans.total()
    assert 0 < spans.total() <= LEAST_SPANS
    assert set(spans.values()) == {4}
    recent.add(table((2, 1)).drop_columns(["name"]))  # whatever is wrong with a summary, the spans are stored


def test_the_input_is_found_where_it_lies() -> None:
    """Texts are folded into one column, or lie in their own where they are many."""
    tables = Tables(max_attribute_bytes=2**20)
    tables.add("traces", "protobuf", agent_trace(7), 1)
    folded = tables.take()[0]
    assert next(rows(folded.slice(2)))["input"].decode().startswith("coat 注文")
    own = folded.set_column(folded.schema.get_field_index("texts"), "texts", pa.nulls(3, pa.string()))
    own = own.set_column(own.schema.get_field_index("input_text"), "input_text", pa.array(["a" * 900] * 3))
    assert {said["input"] for said in rows(own)} == {"a" * 200}


def summary(trace: str, span: str, parent: str = "", **said: str | int | float) -> SpanSummary:
    return SpanSummary(trace_id=trace, span_id=span, parent_span_id=parent, **said)  # type: ignore[arg-type]


def test_a_trace_is_whole_when_its_root_came_or_nothing_comes_any_more() -> None:
    traces = LiveTraces(Filters(tool="refund"))
    call = {"span_type": "llm", "input_tokens": 5, "duration_nano": 1}
    traces.take([summary("a", "2", "1", tool="Refund"), summary("a", "3", "1", **call), summary("b", "1")], 0.0)
    assert list(traces.whole(0.0)) == []
    traces.take([summary("a", "3", "1", **call), summary("a", "1", span_type="agent", input_tokens=5)], 1.0)
    [whole] = traces.whole(1.0)
    assert (whole.row()["span_count"], whole.row()["input_tokens"]) == (3, 5)
    assert list(traces.whole(1.0)) == []
    traces.take([summary("c", "2", "1", tool="refund")], 2.0)
    assert [trace.trace_id for trace in traces.whole(2.0 + QUIET_SECONDS)] == ["c"]
