"""The tables a run makes for itself: found by their names, and gone with the reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_receiver.store.reader import Reader


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_table_is_found_by_its_name_changed_and_made_anew(temporary: Path) -> None:
    with Reader([]) as reader:
        reader.scratch.table("_n", "SELECT range AS n FROM range(3)")
        reader.connection.execute("UPDATE _n SET n = 7 WHERE n = 2")
        assert reader.query("FROM _n ORDER BY n") == [{"n": 0}, {"n": 1}, {"n": 7}]
        reader.scratch.table("_n", "SELECT 9 AS n")
        assert reader.query("FROM _n") == [{"n": 9}]
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": 0}], "the window is found as before"


def test_nothing_is_left_of_it(temporary: Path) -> None:
    with Reader([]) as reader:
        assert not list(temporary.iterdir()), "a reader that makes no table has no file"
        reader.scratch.table("_n", "SELECT range AS n, md5(range::VARCHAR) AS s FROM range(300000)")
        reader.connection.execute("CHECKPOINT scratch")
        assert reader.query("SELECT database_size <> '0 bytes' AS kept FROM pragma_database_size() "
                            "WHERE database_name = 'scratch'") == [{"kept": True}]  # fmt: skip
        assert not list(temporary.rglob("*.duckdb")), "a process that is killed would leave it"
        assert reader.query("SELECT count(DISTINCT s) AS n FROM _n") == [{"n": 300000}]
    assert not list(temporary.iterdir())


def test_tables_beside_few_spans_lie_in_memory_from_then_on_unless_the_file_is_kept(tmp_path: Path) -> None:
    where = "SELECT database_name AS d FROM duckdb_tables() WHERE table_name = '_n'"
    with Reader([]) as reader:
        reader.scratch.stay_in_memory()
        reader.scratch.table("_n", "SELECT 1 AS n")
        assert reader.query(where) == [{"d": "memory"}]
    with Reader([], keep=tmp_path / "kept.duckdb") as reader:
        reader.scratch.stay_in_memory()
        reader.scratch.table("_n", "SELECT 1 AS n")
        assert reader.query(where) == [{"d": "scratch"}]
