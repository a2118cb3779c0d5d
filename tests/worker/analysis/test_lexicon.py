"""Recognisers are data: each entry tells its own examples, takes none of its counter-examples, and names a source."""

from __future__ import annotations

import duckdb
import pytest

from halo_worker.analysis import lexicon
from halo_worker.analysis.detectors import claims
from halo_worker.analysis.lexicon import recognisers

FAILED = lexicon.entries("failed_result")
INSPECTING = ["search_logs", "read-file-log", "getIssue", "list_issues", "lint", "runTests", "audit_account", "logs"]
DOING = ["issue_refund", "login", "catalog_search", "blog_post", "contest_entry", "Bash", "ticketing", "dialog", "book"]


def told(test: str, text: str) -> bool:
    row = duckdb.execute(f"SELECT {test} FROM (SELECT ? AS said)", [text]).fetchone()
    assert row
    return bool(row[0])


@pytest.mark.parametrize("entry", FAILED, ids=lambda entry: entry.fails[0][:30])
def test_an_entry_tells_its_examples(entry: lexicon.Entry) -> None:
    assert entry.source
    assert [text for text in entry.fails if not told(lexicon.matches("said", [entry]), text)] == []


@pytest.mark.parametrize("text", [text for entry in FAILED for text in entry.works])
def test_no_entry_takes_the_counter_example_of_another(text: str) -> None:
    assert [entry.pattern for entry in FAILED if told(lexicon.matches("said", [entry]), text)] == []


def test_every_pattern_is_understood_by_the_engine_of_duckdb_by_itself() -> None:
    for entry in FAILED:
        assert not told(lexicon.matches("said", [entry]), "")


@pytest.mark.parametrize("name", INSPECTING)
def test_a_tool_that_reads_what_may_speak_of_failures_is_known_by_whole_words(name: str) -> None:
    assert told(lexicon.inspects("said"), name)


@pytest.mark.parametrize("name", DOING)
def test_a_tool_that_has_such_letters_in_another_word_is_none(name: str) -> None:
    assert not told(lexicon.inspects("said"), name)


@pytest.fixture(scope="module")
def macros() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for statement in lexicon.macros():
        connection.execute(statement)
    return connection


def answer(macros: duckdb.DuckDBPyConnection, expression: str, text: str) -> object:
    row = macros.execute(f"SELECT {expression} FROM (SELECT ? AS said)", [text]).fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize("one", recognisers.recognisers(), ids=lambda one: one.name)
def test_a_recogniser_takes_its_examples_by_their_entry_and_no_counter_example(
    one: recognisers.Recogniser, macros: duckdb.DuckDBPyConnection
) -> None:
    for form in one.forms:
        alone = recognisers.Recogniser("alone", (form,), one.flags).pattern.replace("'", "''")
        assert form.source
        assert [text for text in form.examples if not answer(macros, f"regexp_matches(said, '{alone}')", text)] == []
        assert [text for text in form.counter_examples if answer(macros, f"{one.name}(said)", text)] == []


def test_the_class_of_an_error_is_that_of_its_entry(macros: duckdb.DuckDBPyConnection) -> None:
    for name, form in recognisers.error_classes():
        assert form.source
        assert {text: answer(macros, "error_class(said)", text) for text in form.examples} == dict.fromkeys(
            form.examples, name
        )
        assert [text for text in form.counter_examples if answer(macros, "error_class(said)", text) != "other"] == []


@pytest.mark.parametrize("claim", claims.known(), ids=lambda claim: claim.name)
def test_a_claim_is_told_by_its_examples(claim: claims.Claim) -> None:
    said = f"(?i){claim.said}".replace("'", "''")
    assert [text for text in claim.examples if not told(f"regexp_matches(said, '{said}')", text)] == []
    assert [text for text in claim.counter_examples if told(f"regexp_matches(said, '{said}')", text)] == []
