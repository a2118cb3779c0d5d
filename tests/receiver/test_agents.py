"""A span belongs to the nearest agent above it, and a model call is counted once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Span
from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from tests.generator.load import reader_of, store
from tests.small_spans import agent, llm, opened, span, tool


def agents_of(reader: Reader) -> dict[str, str | None]:
    return {row["span_id"][-3:]: row["agent_name"] for row in reader.query("SELECT span_id, agent_name FROM spans")}


def team() -> list[Span]:
    """A server span above a planner, who has a call, and a writer of its own below a tool."""
    return [
        span(1, 0x10, "POST /ask", kind="SERVER"),
        agent(1, 0x20, "planner", parent=0x10),
        llm(1, 0x21, "Let us ask the writer.", parent=0x20),
        tool(1, 0x22, "ask_writer", {}, parent=0x20),
        agent(1, 0x30, "writer", parent=0x22),
        span(1, 0x31, "step", parent=0x30),
        llm(1, 0x32, "A text.", parent=0x31),
        llm(1, 0x40, "Lost.", parent=0x99),
    ]


BELONGING = {"010": None, "020": "planner", "021": "planner", "022": "planner", "030": "writer", "031": "writer",
             "032": "writer", "040": None}  # fmt: skip


def test_a_span_belongs_to_the_nearest_agent_above_it(tmp_path: Path) -> None:
    with opened(team(), tmp_path) as reader:
        assert agents_of(reader) == BELONGING


def test_ancestors_in_another_segment_count(tmp_path: Path) -> None:
    """Children end first, and arrive first."""
    made = team()
    parts = [store(made[4:], tmp_path, number=1), store(made[:4], tmp_path, number=2)]
    with reader_of(parts) as reader:
        assert agents_of(reader) == BELONGING


def test_the_command_line_sees_it_on_a_locked_connection(tmp_path: Path) -> None:
    with opened(team(), tmp_path) as reader:
        reader.lock_down()
        _, rows = queries.json_rows(reader, "SELECT agent_name, count(*) AS n FROM spans GROUP BY ALL ORDER BY ALL")
    assert rows == [
        {"agent_name": "planner", "n": 3}, {"agent_name": "writer", "n": 3}, {"agent_name": None, "n": 2},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT count(*) FROM spans", False),
        ("SELECT name, model FROM spans WHERE span_type = 'llm'", False),
        ("SELECT count(*) FROM traces", False),
        ("SELECT agent_name FROM spans", True),
        ("SELECT AGENT_NAME FROM spans", True),
        ("FROM spans", True),
        ("SELECT s FROM spans s", True),
        ("WITH a AS (SELECT * FROM spans) SELECT count(*) FROM a", True),
        ("SELECT COLUMNS('agent.*') FROM spans", True),
    ],
)
def test_agents_are_worked_out_only_for_statements_that_read_them(tmp_path: Path, sql: str, reads: bool) -> None:
    with opened(team(), tmp_path) as reader:
        reader.query(sql)
        tables = {row["name"] for row in reader.query("SELECT table_name AS name FROM duckdb_tables()")}
        assert ("_agents" in tables) is reads


def test_long_chains_circles_and_copies_are_no_trouble(tmp_path: Path) -> None:
    chain = [agent(1, 1), *(span(1, n, "step", parent=n - 1) for n in range(2, 3000))]
    circle = [span(2, 1, "a", parent=2), span(2, 2, "b", parent=1), agent(2, 3)]
    random.Random(4).shuffle(chain)
    parts = [store(chain, tmp_path, number=1), store([*chain[::2], *circle], tmp_path, number=2)]
    with reader_of(parts) as reader:
        rows = reader.query("SELECT trace_id, agent_name, count(*) AS n FROM spans GROUP BY ALL ORDER BY ALL")
    assert [(row["agent_name"], row["n"]) for row in rows] == [("support", 2999), ("support", 1), (None, 2)]


USED = (1000, 100)
OPENINFERENCE: dict[str, Any] = {"scope": "openinference.instrumentation.openai"}
CASES: dict[str, tuple[list[Span], int]] = {
    "two instrumentations, nested": (
        [agent(1), llm(1, 2, tokens=USED, scope="langchain"), llm(1, 3, tokens=USED, parent=2, at=1, lasts=90)],
        1000,
    ),
    "three of them": (
        [agent(1), llm(1, 2, tokens=USED), llm(1, 3, tokens=USED, parent=2, at=1, lasts=90),
         llm(1, 4, tokens=USED, parent=3, at=2, lasts=80)],
        1000,
    ),
    "side by side, by callbacks": (
        [agent(1), llm(1, 2, tokens=USED, scope="one"), llm(1, 3, tokens=USED, at=1, lasts=90, scope="two")],
        1000,
    ),
    "a gateway behind HTTP": (
        [agent(1), llm(1, 2, tokens=USED), span(1, 3, "POST", parent=2, at=1, lasts=95, kind="CLIENT"),
         span(1, 4, "POST /v1/chat", parent=3, at=2, lasts=90, kind="SERVER", service="gateway"),
         llm(1, 5, tokens=(1003, 100), model="azure/gpt-4o", parent=4, at=3, lasts=80, service="gateway")],
        1003,
    ),
    "an outer span without usage": ([agent(1), llm(1, 2), llm(1, 3, tokens=USED, parent=2, at=1, lasts=90)], 1000),
    "a span in the middle without usage": (
        [agent(1), llm(1, 2, tokens=USED), llm(1, 3, parent=2, at=1, lasts=90),
         llm(1, 4, tokens=USED, parent=3, at=2, lasts=80)],
        1000,
    ),
    "a wrapper that sums the calls within it": (
        [agent(1), llm(1, 2, tokens=(2000, 200)), llm(1, 3, tokens=USED, parent=2, at=1, lasts=40),
         llm(1, 4, tokens=USED, parent=2, at=50, lasts=40)],
        2000,
    ),
    "an inner span without usage": ([agent(1), llm(1, 2, tokens=USED), llm(1, 3, parent=2, at=1, lasts=90)], 1000),
    "a later call that inherited the context": (
        [agent(1), llm(1, 2, tokens=USED), llm(1, 3, tokens=(1500, 100), parent=2, at=200)], 2500,
    ),
    "a small call of another kind inside": (
        [agent(1), llm(1, 2, tokens=USED), llm(1, 3, tokens=(200, 5), parent=2, at=1, lasts=9)], 1200,
    ),
    "an agent's call within a tool of a call": (
        [agent(1), llm(1, 2, tokens=USED, lasts=900), tool(1, 3, "ask", {}, parent=2, at=1, lasts=800),
         llm(1, 4, tokens=USED, parent=3, at=2, lasts=90)],
        2000,
    ),
    "two equal calls of one instrumentation at once": (
        [agent(1), llm(1, 2, tokens=USED), llm(1, 3, tokens=USED, at=1, lasts=90)], 2000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_call_is_counted_once_however_many_spans_tell_of_it(tmp_path: Path, case: str) -> None:
    spans, tokens = CASES[case]
    with opened(spans, tmp_path) as reader:
        row = reader.query("SELECT input_tokens, cost_usd FROM traces")[0]
    assert row["input_tokens"] == tokens
    assert row["cost_usd"] > 0
