"""Other stores' APIs and exports: every record once, whatever happens on the way; faults in one line."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import httpx
import pytest

from benchmarks.phoenix import phoenix as start_phoenix
from halo_receiver.store.reader import Reader
from halo_worker import pull
from halo_worker.errors import ConfigError, InputError
from halo_worker.source.remote import StoreUnavailable, base64_of
from halo_worker.window import Window
from tests.worker.conftest import Halo

DAY = 86_400 * 10**9
NOW = 1_772_400_000 * 10**9
KEYS = {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGSMITH_API_KEY": "lsv2", "PHOENIX_API_KEY": "px"}
Answer = Callable[["Asked"], tuple[int, dict[str, str], Any]]


class Asked:
    """A request: its path, query (first values), JSON body and headers."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.path, self.all = parts.path, parse_qs(parts.query)
        self.query = {key: values[0] for key, values in self.all.items()}
        self.text = handler.rfile.read(int(handler.headers.get("content-length") or 0)).decode()
        self.body = json.loads(self.text) if self.text.startswith("{") else {}
        self.headers = handler.headers


@contextmanager
def store(answer: Answer) -> Iterator[tuple[str, list[Asked]]]:
    """Serve on loopback what `answer` says; gives the address and the requests that came."""
    seen: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(Asked(self))
            status, headers, value = answer(seen[-1])
            text = value if isinstance(value, str | bytes) else json.dumps(value)
            body = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            for name, said in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, said)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def observation(number: int, **more: Any) -> dict[str, Any]:
    """Give one as Langfuse's API does: an agent (0), then generations and tools below it."""
    at = f"2026-03-01T10:00:{number:02}.000Z"
    return {"id": f"{number + 1:016x}", "traceId": "a" * 32, "type": "AGENT" if number == 0 else "GENERATION",
            "name": f"step {number}", "startTime": at, "endTime": at,
            "parentObservationId": f"{1:016x}" if number else None,
            "level": "DEFAULT", "input": {"messages": [{"role": "user", "content": "hi"}]}, "output": "hello",
            "providedModelName": "gpt-4o", "usageDetails": {"input": 12, "output": 3, "total": 15},
            "costDetails": {"total": 0.01}, "sessionId": "s-1", "userId": "u-1", "traceName": "helper",
            "metadata": {"resourceAttributes": {"service.name": "clerk"}, "tier": "gold"}} | more  # fmt: skip


SCORE = {"id": "sc1", "name": "correct", "dataType": "BOOLEAN", "value": False, "comment": "wrong total",
         "timestamp": "2026-03-01T11:00:00.000Z", "subject": {"kind": "trace", "id": "a" * 32}}  # fmt: skip
LEVEL = observation(3, type="TOOL", level="ERROR", statusMessage="TimeoutError: no answer", output=None)
OBSERVATIONS = [observation(0), observation(1), observation(2), LEVEL]


def langfuse_4(asked: Asked) -> tuple[int, dict[str, str], Any]:
    """Answer as Langfuse 4: two pages of observations, one of scores."""
    if asked.headers["authorization"] != f"Basic {base64_of('pk:sk')}":
        return 401, {}, {"message": "Invalid credentials"}
    if asked.path == "/api/public/v2/observations":
        assert asked.query["fromStartTime"] < asked.query["toStartTime"]
        second = asked.query.get("cursor") == "c2"
        return (
            200,
            {},
            {"data": OBSERVATIONS[2:] if second else OBSERVATIONS[:2], "meta": {"cursor": None if second else "c2"}},
        )
    if asked.path == "/api/public/v3/scores":
        return 200, {}, {"data": [SCORE, {"id": "x", "name": "of a session", "value": 1, "dataType": "NUMERIC",
                                          "subject": {"kind": "session", "id": "s-1"}}], "meta": {}}  # fmt: skip
    return 404, {}, {"message": "no such path"}


def asked_for(kind: str, url: str, **more: Any) -> pull.Asked:
    place = pull.STORES[kind].PLACE
    return pull.Asked(kind, url, place.project({}), Window(NOW - 7 * DAY, NOW), explicit=True, **more)


def pulled(folder: Path, asked: pull.Asked, waits: list[float] | None = None) -> pull.Pulled:
    waited = waits if waits is not None else []
    return pull.pull(asked, folder, KEYS, now_ns=NOW, say=lambda _: None, wait=waited.append)


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    with Reader.open(folder) as reader:
        return reader.query(sql)


def stored(folder: Path) -> int:
    """Count the spans that lie in segments, copies too."""
    return sum(
        Reader([path]).query("SELECT count(*) AS n FROM spans")[0]["n"]
        for path in (folder / "segments").glob("*.duckdb")
    )


def test_langfuse_is_read_page_by_page_with_its_scores_as_outcomes(
    halo: Halo, tmp_path: Path, monkeypatch: Any
) -> None:
    """A rate limit is waited for as asked; a report says how the run ended by what was scored."""
    refused = iter([(429, {"Retry-After": "3"}, {}), (429, {"Retry-After": "3"}, {})])

    def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
        return next(refused, None) or langfuse_4(asked) if asked.query.get("cursor") else langfuse_4(asked)

    waits: list[float] = []
    with store(answer) as (url, _):
        result = pulled(tmp_path / "halo-data", asked_for("langfuse", url), waits)
    assert (result.state.spans, result.state.logs, waits) == (4, 1, [3.0, 3.0])
    found = rows(tmp_path / "halo-data", "SELECT *, attributes AS a FROM spans ORDER BY span_id")
    assert [row["span_type"] for row in found] == ["agent", "llm", "llm", "tool"]
    agent, model, _, tool = found
    assert (agent["service_name"], agent["session_id"], agent["user_id"]) == ("clerk", "s-1", "u-1")
    assert (model["model"], model["input_tokens"], model["output_tokens"], model["cost_usd"]) == ("gpt-4o", 12, 3, 0.01)
    assert (tool["status_code"], tool["error_type"]) == ("ERROR", "TimeoutError")
    done = halo("run", "--since", "2026-03-01", "--until", "2026-03-02", "--detectors-only", "--format", "json")
    assert done.code == 0, done.err
    outcomes = json.loads(done.out)["totals"]["outcomes"]
    assert [(item["outcome"], item["basis"]) for item in outcomes] == [("error", "recorded")]


def test_langfuse_before_4_is_read_by_number_of_page(tmp_path: Path) -> None:
    lean = [{key: value for key, value in item.items() if key not in ("sessionId", "userId", "traceName")}
            for item in OBSERVATIONS]  # fmt: skip
    numeric = {
        "name": "correct",
        "dataType": "NUMERIC",
        "value": 0.2,
        "traceId": "a" * 32,
        "timestamp": SCORE["timestamp"],
    }

    def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
        page = int(asked.query.get("page") or 1)
        if asked.path == "/api/public/observations":
            return 200, {}, {"data": lean[page * 3 - 3 : page * 3], "meta": {"page": page, "totalPages": 2}}
        if asked.path == "/api/public/traces":
            trace = {"id": "a" * 32, "name": "helper", "sessionId": "s-9", "timestamp": "2026-03-01T10:00:00Z"}
            return 200, {}, {"data": [trace], "meta": {"totalPages": 1}}
        if asked.path == "/api/public/v2/scores":
            return 200, {}, {"data": [numeric], "meta": {"totalPages": 1}}
        return 404, {}, {}

    with store(answer) as (url, _):
        result = pulled(tmp_path, asked_for("langfuse", url))
    assert (result.state.spans, result.state.logs) == (4, 1)
    assert rows(tmp_path, "SELECT DISTINCT session_id AS s FROM spans") == [{"s": "s-9"}]


def test_a_pull_that_was_cut_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The first page is kept and not asked for again; nothing is stored twice, not even after a kill in mid-move."""
    broken = True

    def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
        return (503, {}, {}) if broken and asked.query.get("cursor") else langfuse_4(asked)

    with store(answer) as (url, seen):
        with pytest.raises(StoreUnavailable, match="answered 503 6 times"):
            pulled(tmp_path, asked_for("langfuse", url))
        assert stored(tmp_path) == 2
        broken = False
        seen.clear()
        assert pulled(tmp_path, asked_for("langfuse", url)).state.spans == 4
        assert [asked.query.get("cursor") for asked in seen if "observations" in asked.path] == ["c2"]
        assert stored(tmp_path) == 4
        # A kill between the note of a chunk and its move: the next pull moves it, once.
        [file] = (tmp_path / "pulls").glob("*.json")
        part = file.with_suffix(".part")
        part.mkdir(exist_ok=True)
        segment = next((tmp_path / "segments").glob("*.duckdb"))
        moved = segment.rename(part / f"{NOW}-{segment.name}")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"moving": [moved.name]}))
        broken = True
        with pytest.raises(StoreUnavailable):
            pulled(tmp_path, asked_for("langfuse", url))
        assert not any(part.glob("*"))
        assert stored(tmp_path) == 6  # the four, and the first page of the pull that was cut again


RUN = {"id": "r1", "trace_id": "r1", "parent_run_id": None, "name": "LangGraph", "run_type": "chain",
       "status": "success",
       "start_time": "2026-03-01T10:00:00.000000", "end_time": "2026-03-01T10:00:09.000000", "inputs": {"q": 1},
       "outputs": {"a": 2}, "extra": {"metadata": {"thread_id": "th"}}, "feedback_stats": {"ok": {"n": 1}}}  # fmt: skip
TOOL = RUN | {"id": "r2", "parent_run_id": "r1", "name": "search", "run_type": "tool", "status": "error",
              "error": "ValueError('no such city')", "feedback_stats": None}  # fmt: skip
MODEL = RUN | {"id": "r3", "parent_run_id": "r1", "name": "ChatOpenAI", "run_type": "llm", "prompt_tokens": 9,
               "completion_tokens": 4, "feedback_stats": {},
               "extra": {"metadata": {"ls_model_name": "gpt-4o", "ls_provider": "openai"}}}  # fmt: skip
FEEDBACK = {"id": "f1", "run_id": "r1", "key": "user_score", "score": 0, "value": None, "comment": "bad"}


def langsmith_api(asked: Asked) -> tuple[int, dict[str, str], Any]:
    if asked.headers["x-api-key"] != "lsv2":
        return 403, {}, {"detail": "Forbidden"}
    if asked.path == "/api/v1/sessions":
        return 200, {}, [{"id": "p-1", "name": "default"}] if asked.query["name"] == "default" else []
    if asked.path == "/api/v1/feedback":
        assert asked.all["run"] == ["r1"]
        return 200, {}, [FEEDBACK]
    assert asked.body["session"] == ["p-1"]
    second = asked.body.get("cursor") == "n"
    return 200, {}, {"runs": [MODEL] if second else [RUN, TOOL], "cursors": {"next": None if second else "n"}}


def test_langsmith_runs_and_feedback(tmp_path: Path) -> None:
    with store(langsmith_api) as (url, _):
        result = pulled(tmp_path, asked_for("langsmith", url))
        assert (result.state.spans, result.state.logs) == (3, 1)
        with pytest.raises(InputError, match="LangSmith has no project 'nope'"):
            pull.pull(pull.Asked("langsmith", url, "nope", Window(0, NOW), True), tmp_path, KEYS, now_ns=NOW, say=print)
    root, tool, model = rows(tmp_path, "SELECT * FROM spans ORDER BY span_id")
    assert (root["span_type"], root["session_id"], root["service_name"]) == ("chain", "th", "default")
    assert (tool["tool_name"], tool["status_code"], tool["error_type"]) == ("search", "ERROR", "ValueError")
    assert (model["model"], model["provider"], model["input_tokens"]) == ("gpt-4o", "openai", 9)


SPAN = {"id": "U3", "name": "agent", "context": {"trace_id": "b" * 32, "span_id": "c" * 16}, "span_kind": "AGENT",
        "parent_id": None, "start_time": "2026-03-01T10:00:00+00:00", "end_time": "2026-03-01T10:00:01+00:00",
        "status_code": "ERROR", "status_message": "ValueError: no",
        "attributes": {"input.value": "hi", "session.id": "s"}, "events": []}  # fmt: skip
NOTE = {"id": "a1", "name": "helpful", "annotator_kind": "HUMAN", "span_id": "c" * 16,
        "result": {"label": "incorrect", "score": 0.0, "explanation": "no"}}  # fmt: skip


def test_phoenix_spans_and_annotations(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
        assert asked.headers["authorization"] == "Bearer px"
        if asked.path == "/v1/projects/default/spans":
            return 200, {}, {"data": [SPAN], "next_cursor": None}
        if asked.path.endswith("span_annotations"):
            assert asked.all["span_ids"] == ["c" * 16]
            return 200, {}, {"data": [NOTE], "next_cursor": None}
        return 404, {}, {}

    with store(answer) as (url, _):
        result = pulled(tmp_path, asked_for("phoenix", url))
    assert (result.state.spans, result.state.logs) == (1, 1)
    [span] = rows(tmp_path, "SELECT * FROM spans")
    assert (span["span_type"], span["error_type"], span["service_name"]) == ("agent", "ValueError", "default")
    [log] = rows(tmp_path, "SELECT trace_id, attributes FROM logs")
    assert log["trace_id"] == "b" * 32
    assert json.loads(log["attributes"])["gen_ai.evaluation.score.label"] == "incorrect"


@pytest.mark.peer
def test_phoenix_itself_gives_what_it_was_sent(tmp_path: Path, captures: Path) -> None:
    """Its own server, which is 850 MB to install: HALO_PHOENIX names the interpreter that has it."""
    python = os.environ.get("HALO_PHOENIX")
    if not python:
        pytest.skip("SKIPPED, Phoenix itself is not tested: HALO_PHOENIX names no interpreter that has arize-phoenix")
    (tmp_path / "phoenix").mkdir()
    with start_phoenix(python, tmp_path / "phoenix") as server:
        sent = (captures / "openinference-openai" / "traces-001.pb").read_bytes()
        kind = {"Content-Type": "application/x-protobuf"}
        httpx.post(f"{server.url}/v1/traces", content=sent, headers=kind).raise_for_status()
        assert server.wait_until_stored(10, seconds=60) == 10
        note = {
            "name": "ok",
            "annotator_kind": "HUMAN",
            "span_id": "95fb1dffda423e71",
            "result": {"label": "incorrect"},
        }
        httpx.post(f"{server.url}/v1/span_annotations?sync=true", json={"data": [note]}).raise_for_status()
        asked = pull.Asked("phoenix", server.url, "weather-project", Window(0, 2 * NOW), explicit=True)
        state = pull.pull(asked, tmp_path / "data", {}, now_ns=NOW, say=print).state
    assert (state.spans, state.logs) == (10, 1)
    [row] = rows(
        tmp_path / "data",
        "SELECT count(model) AS models, sum(input_tokens) AS tokens FROM spans WHERE span_type = 'llm'",
    )
    assert row == {"models": 5, "tokens": 480}


def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    """Keys, an address that is no API, a limit of hours: what, which, and what to do."""
    with store(lambda asked: (401, {}, {"message": "Invalid credentials"})) as (url, _):
        with pytest.raises(ConfigError, match=r"Langfuse at .* refused the keys \(401\): .*Invalid") as wrong:
            pulled(tmp_path, asked_for("langfuse", url))
        assert "LANGFUSE_PUBLIC_KEY" in wrong.value.hint
    with (
        store(lambda asked: (200, {}, "<html>Sign in</html>")) as (url, _),
        pytest.raises(InputError, match="with no JSON: '<html>Sign in</html>'"),
    ):
        pulled(tmp_path, asked_for("langfuse", url))
    with (
        store(lambda asked: (429, {"Retry-After": "7200"}, {})) as (url, _),
        pytest.raises(StoreUnavailable, match="answered 429 and asks to wait 7200 s"),
    ):
        pulled(tmp_path, asked_for("langfuse", url))
    with pytest.raises(ConfigError, match="Langfuse needs LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"):
        pull.pull(asked_for("langfuse", "http://127.0.0.1:1"), tmp_path, {}, now_ns=NOW, say=print)
    waits: list[float] = []
    with pytest.raises(StoreUnavailable, match=r"Phoenix at .* cannot be reached") as away:
        pulled(tmp_path / "away", asked_for("phoenix", "http://127.0.0.1:1"), waits)
    assert "is the address right? PHOENIX_BASE_URL" in away.value.hint
    assert waits == [1.0], "one more try, not half a minute of them"


def test_exports_as_tables_are_read(halo: Halo, tmp_path: Path) -> None:
    """CSV, whose cells hold JSON or what Python prints, and Parquet; a torn one is named."""
    connection = duckdb.connect()
    langfuse = [observation(1, traceId="f" * 32), SCORE | {"traceId": "f" * 32, "value": 0.5, "dataType": "NUMERIC"}]
    langsmith = [RUN | {"inputs": {"messages": [{"role": "user", "content": 'a "quoted",\nline'}]}}]
    for name, records in (("langfuse", langfuse), ("langsmith", langsmith)):
        keys = list(dict.fromkeys(key for record in records for key in record))
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, keys)
            table.writeheader()
            for record in records:
                table.writerow({k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in record.items()})
    flat = {"context.span_id": "a" * 16, "context.trace_id": "b" * 32, "name": "chat", "span_kind": "LLM",
            "start_time": "2026-03-01 10:00:00.5+00:00", "end_time": "2026-03-01 10:00:01+00:00",
            "attributes.llm.model_name": "m", "attributes.llm.token_count.prompt": 5,
            "attributes.llm.input_messages": [{"message.role": "user", "message.content": "hi"}]}  # fmt: skip
    (tmp_path / "phoenix.json").write_text(json.dumps(flat))
    connection.execute(f"COPY (FROM read_json('{tmp_path}/phoenix.json')) TO '{tmp_path}/phoenix.parquet'")
    with (tmp_path / "phoenix.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(flat))
        table.writeheader()
        table.writerow(flat | {"context.span_id": "c" * 16})  # the messages as Python prints them
    for name, words in (
        ("langfuse.csv", "1 span and 1 log record"),
        ("langsmith.csv", "1 span and 0 log"),
        ("phoenix.parquet", "1 span and"),
        ("phoenix.csv", "1 span and"),
    ):
        done = halo("import", "--from", name.split(".")[0], name)
        assert words in done.err, done.err
    (tmp_path / "torn.parquet").write_bytes(b"PAR1" + b"x" * 40)
    assert "torn.parquet: is no PARQUET that can be read" in halo("import", "--from", "phoenix", "torn.parquet").err
    rows_ = json.loads(halo("query", "SELECT * FROM spans ORDER BY span_id", "--format", "json").out)
    read = [row for row in rows_ if row["model"] == "m"]
    expected = [("hi", 5, 500_000_000)] * 2
    assert [(row["input_text"], row["input_tokens"], row["duration_ns"]) for row in read] == expected
    scored = "SELECT attributes->>'gen_ai.evaluation.score.value' AS v FROM logs"
    assert json.loads(halo("query", scored, "--format", "json").out) == [{"v": "0.5"}]
    assert sum("quoted" in json.dumps(row["attributes"]) for row in rows_) == 1


def test_exports_of_the_stores_are_read_as_their_apis_are(halo: Halo, tmp_path: Path) -> None:
    """JSON documents, wrapped or not, and JSON lines; what is of another form is named."""
    below = [observation(0, traceId="d" * 32, sessionId=None)]
    nested = {"id": "d" * 32, "timestamp": "2026-03-01T10:00:00Z", "sessionId": "s-2",
              "scores": [SCORE | {"subject": {}}], "observations": below}  # fmt: skip
    (tmp_path / "langfuse.json").write_text(json.dumps([nested], indent=1))
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps(item) for item in OBSERVATIONS) + "\n{torn\n")
    stored = {"id": "e" * 16, "trace_id": "e" * 32, "type": "GENERATION", "start_time": "2026-03-01 10:00:00.000",
              "provided_model_name": "gpt-4o", "usage_details": '{"input": 5}', "session_id": "s-3"}  # fmt: skip
    (tmp_path / "blob.jsonl").write_text(json.dumps(stored))
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    done = halo("import", "--from", "langfuse", "langfuse.json", "more.jsonl", "blob.jsonl", "table.csv")
    assert done.code == 0, done.err
    assert "imported 6 spans and 1 log record from 4 files" in done.err
    assert "table.csv: is neither a JSON document nor JSON lines" in done.err
    for name, record in (
        ("langsmith", {"runs": [RUN | {"child_runs": [TOOL]}, FEEDBACK]}),
        ("phoenix", {"data": [SPAN, NOTE]}),
    ):
        (tmp_path / "one.json").write_text(json.dumps(record))
        assert "1 log record" in halo("import", "--from", name, "one.json").err
    found = json.loads(
        halo("query", "SELECT session_id AS s, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1", "--format", "json").out
    )
    assert {row["s"]: row["n"] for row in found} == {"s": 1, "s-1": 4, "s-2": 1, "s-3": 1, "th": 2}
