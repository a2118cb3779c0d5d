"""SQL of strangers: what is let through, and what it can do to the process that asks. Real processes, real DuckDB."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from halo_receiver.errors import InputError
from halo_receiver.store import guard
from halo_receiver.store.reader import Reader
from halo_worker.analysis.questions import Questions
from halo_worker.rlm.tool import ToolError
from tests.worker.analysis.windows import ordinary, trace_id, window


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with window(ordinary(20, failing=[3, 7]), tmp_path_factory.mktemp("window")) as opened:
        yield opened


@pytest.fixture
async def questions(reader: Reader, tmp_path: Path) -> AsyncIterator[Questions]:
    asked = Questions.of(reader, tmp_path, threads=1)
    asked.seconds = 5
    yield asked
    await asked.close()


READS = [
    "SELECT count(*) FROM spans",
    "FROM spans SELECT name",
    "WITH a AS (SELECT trace_id FROM spans) SELECT count(*) FROM a JOIN traces USING (trace_id)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT max(i) FROM n",
    "WITH _t AS (SELECT 1 AS n) SELECT * FROM _t",
    "WITH sqlite_master AS (FROM spans), b AS (FROM sqlite_master) SELECT count(*) FROM b",
    "WITH spans AS (SELECT * FROM spans LIMIT 1) SELECT name FROM Spans",
    "SELECT * FROM (WITH x AS (SELECT 1 AS n), y AS (FROM x) SELECT * FROM y, (SELECT count(*) FROM x)) z",
    "WITH RECURSIVE r(a, b) USING KEY (a) AS (SELECT 1, 2 UNION SELECT a, b + 1 FROM recurring.r WHERE b < 4) FROM r",
    "WITH x AS MATERIALIZED (FROM traces) (FROM x) UNION ALL (FROM X)",
    "FROM (PIVOT (SELECT status_code FROM spans) ON status_code IN ('OK', 'ERROR') USING count(*))",
    "SELECT t.n FROM spans s, LATERAL (SELECT length(s.name) AS n) t",
    "SELECT unnest(agent_names) FROM traces",
    "SELECT key, count(*) FROM spans, json_each(attributes) GROUP BY ALL",
    "SELECT * FROM main.spans LIMIT 1; ",
    "DESCRIBE spans",
    "SUMMARIZE traces",
    "VALUES (1)",
    "SELECT name FROM spans -- a comment at the end",
    "SELECT name FROM spans UNION SELECT root_name FROM traces",
]

REFUSED = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/hostname')",
    "SELECT * FROM read_parquet('https://example.org/x.parquet')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://example.org/x.csv'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "COPY spans TO '/tmp/out.csv'",
    "COPY (SELECT 1) TO '/tmp/out.parquet'",
    "EXPORT DATABASE '/tmp/out'",
    "ATTACH '/tmp/other.duckdb'",
    "DETACH s0",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "SET memory_limit = '100GB'",
    "RESET memory_limit",
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_tables()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM s0.span_rows",
    "SELECT * FROM s0.meta",
    "SELECT * FROM _t",
    "SELECT * FROM _t, (WITH _t AS (SELECT 1) SELECT 1) x",
    "SELECT * FROM (WITH _t AS (SELECT 1) FROM _t) x, _t",
    "SELECT (WITH _t AS (SELECT 1 AS n) SELECT n FROM _t), (SELECT count(*) FROM _t)",
    "(WITH _t AS (SELECT 1 AS n) SELECT n FROM _t) UNION ALL (SELECT 1 FROM _t)",
    "WITH _t AS (SELECT * FROM _t) SELECT * FROM _t",
    "WITH RECURSIVE _t AS (SELECT * FROM _t) SELECT * FROM _t",
    "WITH RECURSIVE _t(n) AS (SELECT 1 FROM _t UNION ALL SELECT n + 1 FROM _t WHERE n < 3) FROM _t",
    "WITH a AS (FROM _t), _t AS (SELECT 1) FROM a",
    "WITH _t AS (SELECT 1) SELECT * FROM main._t",
    "WITH _t AS (SELECT 1) SELECT * FROM memory.main._t",
    "WITH spans AS (FROM s0.span_rows) FROM spans",
    "SELECT * FROM spans x, LATERAL (SELECT * FROM _t WHERE _t.trace_id = x.trace_id) y",
    "SELECT * FROM spans _t, (SELECT count(*) FROM _t) x",
    "SELECT EXISTS (WITH q AS (SELECT 1) FROM _crossing)",
    "WITH duc\u212adb_views AS (SELECT 1) FROM duckdb_views",
    'FROM "_T"',
    "TABLE _t",
    "FROM _span_rows SELECT name",
    "FROM (PIVOT _t ON status_code IN ('OK') USING count(*))",
    "FROM (UNPIVOT _t ON span_count)",
    "SUMMARIZE _t",
    "FROM (DESCRIBE _t)",
    "FROM (SHOW ALL TABLES)",
    "SELECT name FROM spans ORDER BY (SELECT max(span_count) FROM _t)",
    "SELECT name FROM spans LIMIT (SELECT max(span_count) FROM _t)",
    "SELECT list_transform([1], lambda n: (SELECT count(*) FROM _t))",
    "SELECT name FROM spans GROUP BY ALL HAVING count(*) > (SELECT count(*) FROM _t)",
    "SELECT row_number() OVER w FROM spans WINDOW w AS (ORDER BY (SELECT count(*) FROM _t))",
    "VALUES ((SELECT count(*) FROM _t))",
    "FROM 'somewhere.parquet'",
    "FROM reader",
    "SELECT pg_get_viewdef(1)",
    "SELECT json_serialize_plan('FROM _t')",
    "SHOW TABLES",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW spans",
    "DROP VIEW spans",
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO s0.span_rows SELECT * FROM s0.span_rows",
    "DELETE FROM spans",
    "UPDATE spans SET name = 'x'",
    "WITH gone AS (DELETE FROM spans RETURNING 1) FROM gone",
    "WITH made AS (INSERT INTO spans VALUES (1) RETURNING 1) SELECT * FROM made",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('spans')",
    "SELECT sleep_ms(100000)",
    "SELECT nextval('x')",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT * FROM spans",
    "SELECT * FROM test_all_types()",
    "SELECT (SELECT count(*) FROM duckdb_functions())",
    "SELECT * FROM spans WHERE name IN (SELECT name FROM duckdb_views())",
    "not sql at all",
    "",
    "SELECT '" + "x" * 30_000 + "'",
]


async def test_one_select_over_the_contracts_tables_is_answered(questions: Questions) -> None:
    for sql in READS:
        assert (await questions.select(sql)).rows, sql


@pytest.mark.parametrize("sql", REFUSED)
def test_everything_else_is_refused_before_it_runs(reader: Reader, sql: str) -> None:
    """Told by DuckDB's own parser, which also knows a DELETE inside of a WITH."""
    with pytest.raises(InputError) as refused:
        guard.check_select(reader, sql)
    assert len(str(refused.value)) < 1000


# Queries nested in each other, whose common table expressions are called as each other and as tables are.
NAMES = ("a", "A", "b", "spans")


@st.composite
def queries(draw: st.DrawFn, depth: int = 3) -> str:
    def query() -> str:
        return str(draw(queries(depth - 1))) if depth else f"SELECT 1 AS n FROM {draw(st.sampled_from(NAMES))}"

    name, other = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
    form = draw(st.sampled_from((
        f"SELECT 1 AS n FROM {name}",
        f"SELECT 1 AS n FROM main.{name}",
        "WITH {name} AS ({q}) SELECT 1 AS n FROM {other}",
        "WITH {name} AS ({q}), c AS ({q}) SELECT 1 AS n FROM c, {other} d",
        "WITH RECURSIVE {name} AS (({q}) UNION ALL SELECT n + 1 FROM {other} WHERE n < 2) ({q})",
        "SELECT 1 AS n FROM {name} x, ({q}) y, LATERAL ({q}) z",
        "SELECT ({q}) AS n FROM ({q}) x WHERE EXISTS ({q}) ORDER BY ({q})",
        "({q}) UNION ALL ({q})",
        "WITH {name} AS ({q}) ({q}) UNION ALL SELECT 1 AS n FROM {other}",
    )))  # fmt: skip
    while "{q}" in form:
        form = form.replace("{q}", query(), 1)
    return form.replace("{name}", name).replace("{other}", other)


EMPTY = duckdb.connect()


@settings(max_examples=200, deadline=None)
@given(queries())
def test_no_table_that_duckdb_reads_is_taken_for_an_expression(sql: str) -> None:
    """Which tables a statement reads is told by DuckDB's own binder, where there are no views to look into."""
    connection = EMPTY.cursor()
    try:
        binds = {name.lower() for name in connection.get_table_names(sql)}
    except duckdb.Error:
        reject()  # such as a name that stands twice in one FROM: it does not run
    row = connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
    assert row
    seen = {
        path[-1]
        for node, ctes in guard._scoped(json.loads(row[0]))
        if node.get("type") == "BASE_TABLE" and ((path := guard._path(node))[-1] not in ctes or len(path) > 1)
    }
    assert binds <= seen  # what nothing asks for is not bound, and is looked at all the same


def test_no_macro_of_duckdb_reads_its_catalog_past_the_guard(reader: Reader) -> None:
    rows = reader.query(
        "SELECT DISTINCT function_name AS name FROM duckdb_functions() WHERE function_type = 'macro' AND internal "
        "AND regexp_matches(macro_definition, '(?i)(duckdb|pragma)_\\w+\\(')"
    )
    assert {row["name"] for row in rows} <= guard.FORBIDDEN_FUNCTIONS
    assert rows


# What the parser cannot tell: each is a SELECT over the contract's tables, and each would end this process or the day.
BOMBS = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "SELECT count(*) FROM range(1000000000) a, range(1000000000) b",
    "SELECT max(length(repeat('ab', 100000000 + range))) FROM range(100)",
    "SELECT repeat('x', 3000000000)",
    "SELECT list(a.output_text) FROM spans a, range(10000000)",
    "SELECT array_to_string(range(500000000), ',')",
    "SELECT * FROM spans a, spans b, spans c, spans d, spans e, spans f ORDER BY a.output_text, f.input_text",
]


@pytest.mark.parametrize("sql", BOMBS)
async def test_a_bomb_takes_its_own_process_at_most(reader: Reader, tmp_path: Path, sql: str) -> None:
    """It ends in words, within its time, and the next question is answered."""
    questions = Questions.of(reader, tmp_path, threads=1)
    questions.seconds = 1
    try:
        with pytest.raises(ToolError):
            await asyncio.wait_for(questions.select(sql), 15)
        assert (await questions.rows("SELECT count(*) AS n FROM traces")).rows == [{"n": 20}]
    finally:
        await questions.close()


async def test_behind_the_parser_the_connection_is_locked(questions: Questions) -> None:
    """Ours runs unchecked, and still reaches no file, no setting and no segment."""
    for sql in (
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SET memory_limit = '100GB'",
        "ATTACH '/tmp/x.duckdb'",
        "COPY (SELECT 1) TO '/tmp/halo-must-not-exist.csv'",
        "INSERT INTO s0.meta VALUES ('a', 'b')",
        "INSTALL httpfs",
    ):
        with pytest.raises(ToolError):
            await questions.rows(sql)
    assert not Path("/tmp/halo-must-not-exist.csv").exists()


async def test_the_process_holds_no_key(
    questions: Questions, monkeypatch: pytest.MonkeyPatch, reader: Reader, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await questions.start()
    environment = Path(f"/proc/{questions._idle[0].process.pid}/environ")
    if not environment.exists():
        pytest.skip("this system has no /proc")
    assert b"sk-secret" not in environment.read_bytes()


async def test_a_long_question_does_not_hold_the_loop_nor_other_questions(questions: Questions) -> None:
    slow = asyncio.create_task(questions.select(BOMBS[0]))
    ticks = 0
    while not (await asyncio.wait({slow}, timeout=0.01))[0] and ticks < 20:
        ticks += 1
        assert (await questions.rows("SELECT 1 AS one")).rows == [{"one": 1}]
    assert ticks == 20
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_rows_and_bytes_are_bounded_and_the_rest_is_counted(questions: Questions) -> None:
    found = await questions.select("SELECT * FROM range(100000)", max_rows=10)
    assert (len(found.rows), found.more, found.total) == (10, True, 100_000)
    found = await questions.select("SELECT repeat('x', 1000) AS x FROM range(1000)", max_bytes=20_000)
    assert 1 <= len(found.rows) < 30
    assert found.total == 1000


async def test_needed_columns_are_asked_for(questions: Questions) -> None:
    with pytest.raises(ToolError, match="names no span_id"):
        await questions.select("SELECT trace_id FROM spans", needs=("trace_id", "span_id"))


async def test_the_same_window_is_seen(questions: Questions, reader: Reader) -> None:
    sql = "SELECT trace_id, span_count, error_count FROM traces ORDER BY trace_id"
    assert (await questions.rows(sql)).rows == reader.query(sql)
    assert (await questions.rows("SELECT trace_id FROM traces WHERE error_count > 0 ORDER BY 1")).rows == [
        {"trace_id": trace_id(3)},
        {"trace_id": trace_id(7)},
    ]


async def test_a_window_stays_whole_while_its_segments_are_merged_or_expire(tmp_path: Path) -> None:
    """A process that starts late sees what the run began with."""
    with window(ordinary(5), tmp_path / "window") as opened:
        questions = Questions.of(opened, tmp_path / "questions", threads=1)
        for path in opened.segments:
            path.unlink()
    try:
        assert (await questions.rows("SELECT count(*) AS n FROM traces")).rows == [{"n": 5}]
    finally:
        await questions.close()


async def test_no_module_is_taken_from_where_someone_stands(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory with traces may hold a duckdb.py as well."""
    for name in ("duckdb", "orjson", "halo_worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working directory')")
    monkeypatch.chdir(tmp_path)
    questions = Questions.of(reader, tmp_path / "questions", threads=1)
    try:
        assert (await questions.rows("SELECT 1 AS one")).rows == [{"one": 1}]
    finally:
        await questions.close()
    assert not (tmp_path / "questions").exists(), "nothing is left on the disk"
