"""The Collector's table in ClickHouse: read in place, whole traces by their end, typed as they were sent."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.clickhouse import MAP, TYPES, held, packed
from benchmarks.clickhouse import row as row_of
from halo_receiver import decode, files
from halo_receiver.decode import Repair
from halo_receiver.span import Span
from halo_receiver.store.reader import Reader
from halo_worker import elsewhere, inputs
from halo_worker.config_sources import SourceConfig
from halo_worker.errors import ConfigError, InputError
from halo_worker.moments import moment
from halo_worker.parts import task
from halo_worker.source import clickhouse, row_binary
from halo_worker.source.otlp_encoding import Encoder, Row, typed
from halo_worker.source.remote import StoreUnavailable
from halo_worker.window import Window
from tests.conftest import REPOSITORY
from tests.generator.fleet import fleet
from tests.worker.conftest import Halo
from tests.worker.test_pull import Asked, store

SECOND = 10**9
SAID = ("findings", "totals", "coverage", "headline", "summary")  # what a report says beside when it was made
NOON = 1_772_366_400 * SECOND
JSON = "JSON"
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk", "gen_ai.provider.name": "openai"}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "pay",
    "gen_ai.provider.name": "openai",
    "gen_ai.tool.call.arguments": '{"amount":3}',
    "attempt": "2",
    "share": "0.5",
    "dry": "false",
    "tags": '["a","b"]',
}
NESTED = {
    "gen_ai": {
        "operation": {"name": "chat"},
        "provider": {"name": "openai"},
        "request": {"model": "gpt-4o"},
        "usage": {"input_tokens": 12, "output_tokens": 3},
    },
    "ok": True,
}


def row(number: int, name: str, attributes: Any, **more: Any) -> list[Any]:
    """Give one row of the SELECT, as ClickHouse prints it; 64-bit numbers in quotes, as older versions do."""
    values = {
        "start": str(NOON + number * SECOND),
        "trace": "a" * 32,
        "span": f"{number:016x}",
        "parent": f"{1:016x}" if number > 1 else "",
        "name": name,
        "kind": "Internal",
        "status": "Unset",
        "duration": str(SECOND),
        "attributes": attributes,
        "resource": {"service.name": "shop"},
        "state": "",
        "scope": "s",
        "version": "1",
        "message": "",
        "times": [],
        "names": [],
        "said": [],
        "lt": [],
        "ls": [],
        "lst": [],
        "la": [],
    } | more
    return list(values.values())


ROWS = [
    row(1, "clerk", AGENT),
    row(
        2,
        "pay",
        TOOL,
        status="Error",
        message="TimeoutError: no answer",
        times=[NOON],
        names=["exception"],
        said=[{"exception.type": "TimeoutError"}],
    ),
    row(
        3,
        "chat",
        {"gen_ai.operation.name": "chat"},
        kind="SPAN_KIND_CLIENT",
        duration=2**63 + 5,
        lt=["b" * 32],
        ls=["c" * 16],
        lst=[""],
        la=[{"k": "v"}],
    ),
]


def answering(rows: list[list[Any]], types: dict[str, str] = TYPES, *, count: int | None = None, tail: str = "") -> Any:
    """Answer as ClickHouse's HTTP interface does."""

    def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
        sql = asked.text
        if asked.headers["x-clickhouse-key"] != "secret":
            return 403, {}, "Code: 516. DB::Exception: reader: Authentication failed: password is incorrect"
        assert "SETTINGS" not in sql
        assert asked.headers["x-clickhouse-user"] == "reader"
        if sql.startswith("DESCRIBE"):
            return 200, {}, "".join(json.dumps([name, kind, ""]) + "\n" for name, kind in types.items())
        if sql.startswith("SELECT count()"):
            return 200, {}, json.dumps([str(len(rows) if count is None else count)]) + "\n"
        nested = types["SpanAttributes"] == JSON
        return 200, {}, b"".join(packed(item, nested=nested) for item in rows) + tail.encode()

    return answer


def address(url: str) -> str:
    return url.replace("http://", "clickhouse://reader@") + "/otel"


def test_a_run_reads_the_table_in_place(halo: Halo, tmp_path: Path, monkeypatch: Any) -> None:
    """Map and JSON attributes, typed again; and an import of the same window is the same spans."""
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "secret")
    rows = [row(1, "clerk", AGENT | {"id": "7"}), ROWS[1], row(3, "chat", NESTED, kind="SPAN_KIND_CLIENT")]
    with store(answering(rows, TYPES | {"SpanAttributes": JSON})) as (url, _):
        halo("import", address(url), "--data-dir", "json", "--since", "2026-03-01", "--until", "2026-03-02")
    command = ("query", "SELECT * FROM spans ORDER BY span_id", "--format", "json")
    clerk, _, chat = json.loads(halo(*command, "--data-dir", "json").out)
    assert (chat["model"], chat["input_tokens"], chat["attributes"]["ok"]) == ("gpt-4o", 12, True)
    assert clerk["attributes"]["id"] == "7"  # a JSON column says itself what is text
    with store(answering(ROWS)) as (url, asked):
        done = halo("run", "--source", address(url), "--last", "24h", "--detectors-only", "--format", "json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["coverage"]["spans"] == 3
        end = int(asked[-1].query["param_b"])
        assert int(asked[-1].query["param_a"]) == end - 86_400 * SECOND
        done = halo("import", address(url), "--since", "2026-03-01", "--until", "2026-03-02")
        assert "imported 3 spans and 0 log records from ClickHouse" in done.err, done.err
    agent, tool, chat = json.loads(halo(*command).out)
    assert (agent["agent_name"], agent["service_name"], agent["status_code"]) == ("clerk", "shop", "UNSET")
    assert (tool["status_code"], tool["error_type"], tool["tool_name"]) == ("ERROR", "TimeoutError", "pay")
    assert tool["attributes"] == TOOL | {"attempt": 2, "share": 0.5, "dry": False, "tags": ["a", "b"]}
    assert (chat["kind"], chat["end_time"]) == ("CLIENT", None)
    assert json.loads(chat["links"][0]["attributes"]) == {"k": "v"}


def test_a_schedule_reads_a_source(halo: Halo, tmp_path: Path, monkeypatch: Any) -> None:
    """Its window is read as it was two minutes ago: what ended just now is still on its way into the table."""
    with store(answering(ROWS)) as (url, asked):
        (tmp_path / "halo.toml").write_text(
            f"[sources.shop]\nurl = '{address(url)}'\nmax_rows = 10\n"
            "[schedules.shop]\ninterval = '1h'\nsource = 'shop'\nengine = 'detectors'\nservices = ['shop']\n"
        )
        monkeypatch.setenv("HALO_SOURCES_SHOP_PASSWORD", "secret")
        assert halo("schedules", "run", "shop").code == 0
        query = asked[-1].query
        assert (int(query["param_b"]) // SECOND) % 60 == pytest.approx((int(query["param_a"]) // SECOND) % 60, abs=1)
    [report] = (tmp_path / "halo-data" / "reports").glob("*/report.json")
    told = json.loads(report.read_text())
    assert told["coverage"]["spans"] == 3
    assert moment(told["window"]["end"]) - int(query["param_b"]) == pytest.approx(120 * SECOND, abs=1000)
    monkeypatch.delenv("HALO_SOURCES_SHOP_PASSWORD")
    (tmp_path / "halo.toml").write_text("[schedules.shop]\ninterval = '1h'\nsource = 'shop'\n")
    done = halo("schedules")
    assert (done.code, "there is no source 'shop'" in done.err) == (2, True)


def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    def copied(answer: Any, password: str = "secret", **more: Any) -> None:
        with store(answer) as (url, _):
            source = SourceConfig.model_validate({"url": address(url), "password": password, **more})
            elsewhere.copy(source, Window(0, NOON), tmp_path / "out", now_ns=NOON)

    with pytest.raises(ConfigError, match=r"otel\.otel_traces at .* refused: Code: 516") as wrong:
        copied(answering(ROWS), password="no")
    assert "CLICKHOUSE_PASSWORD" in wrong.value.hint
    other = {name: kind for name, kind in TYPES.items() if name not in ("SpanAttributes", "Duration")}
    with pytest.raises(InputError, match="has no column SpanAttributes, Duration"):
        copied(answering(ROWS, other))
    with pytest.raises(InputError, match="keeps SpanAttributes as String"):
        copied(answering(ROWS, TYPES | {"SpanAttributes": "String"}))
    with pytest.raises(InputError, match=r"holds 61,000,000 spans of this window, max_rows is 50,000,000"):
        copied(answering(ROWS, count=61_000_000))
    with pytest.raises(StoreUnavailable, match="sent 3 of 4 spans"):
        copied(answering(ROWS, count=4))
    with pytest.raises(InputError, match="refused: Code: 241"):
        copied(answering(ROWS, tail="Code: 241. DB::Exception: Memory limit exceeded\n"))
    for text, words in (
        ("clickhouse://u@h:9000/otel", "port 9000 of h is ClickHouse's native protocol"),
        ("clickhouse://u@h/a;b", "'a;b' is no name of a database"),
        ("clickhouse://u@h/a?tabel=x", "'tabel' is no option of the address"),
        ("postgres://u:secret@h/a", "'postgres://h/…' is no address of ClickHouse"),
    ):
        with pytest.raises(ConfigError, match=words):
            clickhouse.address(text)
    source = SourceConfig.model_validate({"url": "clickhouse://u@127.0.0.1:1/otel"})
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        elsewhere.copy(source, Window(0, NOON), tmp_path / "out", now_ns=NOON)
    assert clickhouse.address("clickhouse://h/a").url == "https://h:8443/"
    assert clickhouse.address("clickhouse://h:8123").url == "http://h:8123/"


def test_text_becomes_typed_where_it_prints_back_to_the_same_text() -> None:
    kept = [
        "007",
        "1.50",
        "-0",
        "1e5",
        "NaN",
        "truely",
        '[{"role":"user"}]',
        "[1, 2]",
        "[",
        "99999999999999999999",
        "",
        "a",
        "١",
    ]
    assert [typed(text) for text in kept] == kept
    made = {
        "7": 7,
        "-3": -3,
        "0.25": 0.25,
        "true": True,
        "1e-7": 1e-07,
        '["a",1]': ["a", 1],
        "9223372036854775807": 2**63 - 1,
    }
    assert {text: typed(text) for text in made} == made


def test_what_is_encoded_is_decoded_as_it_was() -> None:
    """The reference decoder reads every field back; ids that are none are counted."""
    values: dict[str, Any] = {
        "s": "é" * 300,
        "i": -5,
        "big": 2**62,
        "f": 1.5,
        "b": True,
        "l": ["x", 1],
        "m": {"k": {"n": 0}},
        "e": "",
    }
    rows = [
        Row(
            "ab" * 16,
            f"{number:016x}",
            f"{9:016x}",
            "n" * 200,
            "Server",
            NOON,
            NOON + number,
            values,
            {"r": "x", "list": ["y"]},
            "k=v",
            "scope",
            "2",
            "Ok",
            "fine",
            [(NOON, "event", values)],
            [("cd" * 16, "ef" * 8, "s=1", values)],
        )
        for number in range(1, 4)
    ]
    encoder = Encoder()
    bad = Row("zz", "1", "", "n", "", 0, 0, {}, {})
    found = list(decode.each("traces", encoder.request([*rows, bad]), encoding="protobuf", repair=Repair(2**20)))
    assert encoder.rejected == 1
    assert len(found) == 3
    span = found[1]
    assert isinstance(span, Span)
    assert (span.attributes, span.events[0].attributes, span.links[0].attributes) == (values, values, values)
    assert (span.trace_id, span.span_id, span.parent_span_id) == ("ab" * 16, f"{2:016x}", f"{9:016x}")
    assert (span.kind, span.status_code, span.status_message, span.trace_state) == ("SERVER", "OK", "fine", "k=v")
    assert (span.start_unix_nano, span.end_unix_nano, span.name) == (NOON, NOON + 2, "n" * 200)
    assert (span.scope.resource_attributes, span.scope.name, span.scope.version) == (
        {"r": "x", "list": ["y"]},
        "scope",
        "2",
    )


def test_the_scanner_encodes_rows_as_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind of value, cut at any place, and with ids that are none."""
    if row_binary.wire.rows() is None:
        pytest.skip("SKIPPED, rows in C: no C compiler was there when halo was installed")
    odd = ["true", "false", "-0", "-5", "007", "1.50", "0.25", "1e-7", "1e5", "9223372036854775808", "[", '["a",1]',
           '["é"]', "", "é" * 300, "t", "-", "1.", "1e", "-9223372036854775808"]  # fmt: skip
    rows = [
        *ROWS,
        row(4, "odd", {f"k{place}": text for place, text in enumerate(odd)}, resource={"service.name": "other"}),
        row(5, "no id", {}, trace="zz" * 16),
        row(6, "odd ids", {}, parent="x", kind="SPAN_KIND_CONSUMER", lt=["zz"], ls=["c" * 16], lst=[""], la=[{}]),
    ]
    data = b"".join(map(packed, rows))

    def decoded(chunks: list[bytes]) -> tuple[int, int, list[Any]]:
        requests = row_binary.Requests(chunks, nested=False, all_text=True)
        found = list(requests)
        spans = [
            span for one in found for span in decode.each("traces", one.body, encoding="protobuf", repair=Repair(2**20))
        ]
        return requests.rows, sum(one.rejected for one in found), sorted(spans, key=lambda span: span.span_id)

    monkeypatch.setattr(row_binary, "READ_BYTES", 64)
    by_c = decoded([data])
    assert decoded([data[:200], data[200:217], data[217:]]) == by_c
    monkeypatch.setattr(row_binary.wire, "rows", lambda: None)
    assert decoded([data[:200], data[200:]]) == by_c
    assert by_c[:2] == (6, 1)


@pytest.mark.parametrize("parts", [4, pytest.param(16, marks=pytest.mark.long)])
def test_a_window_in_parts_says_what_the_whole_says(halo: Halo, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Each part asks for its own traces, by a hash of their ids; the store's own is another than this one's."""
    rows = [
        row_of(span)
        for request, _ in fleet(60, seed=3)
        for span in decode.decode_traces(request.SerializeToString(), encoding="protobuf").spans
    ]
    asked_of = set[tuple[int, int]]()

    def answer(asked: Asked) -> Any:
        conditions = set(re.findall(r"cityHash64\(TraceId\) % (\d+) = (\d+)", asked.text))
        mine = rows
        for of, number in ((int(of), int(number)) for of, number in conditions):
            asked_of.add((of, number))
            mine = [one for one in rows if zlib.crc32(one[1].encode()) % of == number]
        assert len(conditions) <= 1
        return answering(mine)(asked)

    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "secret")
    reports = []
    with store(answer) as (url, _):
        for of in (1, parts):
            monkeypatch.setenv("HALO_CLUSTER_PART_SPANS", str(-(-len(rows) // of)))
            done = halo("run", "--source", address(url), "--last", "24h", "--detectors-only", "--format", "json")
            assert done.code == 0, done.err
            reports.append(json.loads(done.out, parse_float=lambda number: round(float(number), 9)))
    assert asked_of == {(parts, number) for number in range(parts)}
    whole, in_parts = [{name: report[name] for name in SAID} for report in reports]
    assert whole["findings"]
    assert whole["coverage"]["spans"] == len(rows)
    assert in_parts == whole


def test_a_part_on_another_host_takes_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SourceConfig.model_validate({"url": "clickhouse://reader:hunter2@ch/otel?table=t", "password": "hunter2"})
    sent = task.Table(config, Window(0, NOON), NOON).sent()
    assert b"hunter2" not in pickle.dumps(sent)
    assert sent.config.url.get_secret_value() == "clickhouse://reader@ch/otel?table=t"
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "its own")
    mine = task._with_password(sent.config).password
    assert mine is not None
    assert mine.get_secret_value() == "its own"


@contextmanager
def engine() -> Iterator[str]:
    """Start ClickHouse's own engine behind HTTP; skips where no interpreter has chdb."""
    python = os.environ.get("HALO_CHDB")
    if not python:
        pytest.skip("SKIPPED, ClickHouse's engine is not tested: HALO_CHDB names no interpreter that has chdb")
    command = [python, str(REPOSITORY / "tests" / "clickhouse_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def moment_of(nanoseconds: int) -> str:
    return f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09}"


def as_stored(span: Span, *, text: bool) -> dict[str, Any]:
    """Give the row that the exporter writes."""

    return {
        "Timestamp": moment_of(span.start_unix_nano),
        "TraceId": span.trace_id,
        "SpanId": span.span_id,
        "ParentSpanId": span.parent_span_id,
        "TraceState": span.trace_state,
        "SpanName": span.name,
        "SpanKind": span.kind.capitalize(),
        "ServiceName": span.scope.service_name,
        "ResourceAttributes": held(span.scope.resource_attributes, text=text),
        "ScopeName": span.scope.name,
        "ScopeVersion": span.scope.version,
        "SpanAttributes": held(span.attributes, text=text),
        "Duration": (span.end_unix_nano - span.start_unix_nano) % 2**64,
        "StatusCode": span.status_code.capitalize(),
        "StatusMessage": span.status_message,
        "Events.Timestamp": [moment_of(event.time_unix_nano) for event in span.events],
        "Events.Name": [event.name for event in span.events],
        "Events.Attributes": [held(event.attributes, text=text) for event in span.events],
        "Links.TraceId": [],
        "Links.SpanId": [],
        "Links.TraceState": [],
        "Links.Attributes": [],
    }


def execute(url: str, sql: str) -> None:
    answer = httpx.post(url, content=sql.encode(), timeout=60)
    assert answer.status_code == 200, answer.text


MEANING = """
SELECT trace_id, span_id, parent_span_id, name, kind, start_time, end_time, status_code, status_message, service_name,
  convention, span_type, model, provider, agent_name, session_id, tool_name, input_messages, output_messages,
  input_text,
  CASE WHEN span_type <> 'retriever' THEN output_text END AS output_text,
  finish_reason, input_tokens, output_tokens, cached_tokens, error_type, error_message
FROM spans ORDER BY ALL
"""


@pytest.mark.peer
@pytest.mark.parametrize("kind", [MAP, JSON])
def test_clickhouses_engine_gives_the_spans_that_were_stored(tmp_path: Path, captures: Path, kind: str) -> None:
    """Captured spans of several SDKs, stored as the exporter stores them, mean the same when they are read back."""
    names = ("openinference-openai", "otel-genai-openai", "pydantic-ai-fmt6", "vercel-ai-sdk-6-otlpjson")
    paths = [path for name in names for path in sorted(captures.joinpath(name).glob("traces-*.pb"))]
    spans = [span for part in files.read_files(paths) for span in part.decoded.spans]
    table = {name: kind if type_ == MAP else type_.replace(MAP, kind) for name, type_ in TYPES.items()}
    first, last = min(s.start_unix_nano for s in spans), max(s.end_unix_nano for s in spans)
    late = Span("f" * 32, "f" * 16, "", "later", spans[0].scope, start_unix_nano=last, end_unix_nano=last + 60 * SECOND)
    with engine() as url:
        execute(url, "CREATE DATABASE otel")
        columns = ", ".join(f"`{name}` {type_}" for name, type_ in table.items())
        execute(url, f"CREATE TABLE otel.otel_traces ({columns}) ENGINE = MergeTree ORDER BY (ServiceName, SpanName)")
        rows = "\n".join(json.dumps(as_stored(span, text=kind == MAP)) for span in [*spans, late])
        execute(url, f"INSERT INTO otel.otel_traces FORMAT JSONEachRow {rows}")
        source = SourceConfig.model_validate({"url": address(url)})
        copied = elsewhere.copy(source, Window(first, last + SECOND), tmp_path / "copied", now_ns=NOON)
        assert copied.spans == len(spans)
        with pytest.raises(InputError, match=f"holds {len(spans)} spans"):
            elsewhere.copy(
                source.model_copy(update={"max_rows": 5}), Window(first, last + SECOND), tmp_path / "x", now_ns=NOON
            )
        parts = [
            elsewhere.copy(source, Window(first, last + SECOND), tmp_path / str(n), now_ns=NOON, part=(n, 3))
            for n in range(3)
        ]
        assert sum(part.spans for part in parts) == len(spans)
        late_ones = elsewhere.copy(source, Window(last + SECOND, last + 120 * SECOND), tmp_path / "late", now_ns=NOON)
        assert late_ones.spans == 1
    stored = inputs.write_segments([str(path) for path in paths], tmp_path / "stored", now_ns=NOON, arrival="span-time")
    with Reader(copied.segments) as one, Reader(stored.segments) as other:
        assert one.query(MEANING) == other.query(MEANING)
