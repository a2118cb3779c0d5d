"""Recognisers are data: each entry tells its own examples, takes none of its counter-examples, and names a source."""

from __future__ import annotations

import duckdb
import pytest

from halo_worker.analysis import lexicon

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
