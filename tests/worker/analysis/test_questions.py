"""SQL of strangers: what is let through, and what it can do to the process that asks. Real processes, real DuckDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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
