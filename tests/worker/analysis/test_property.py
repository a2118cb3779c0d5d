"""Whatever a model claims over a whole run: nothing made up ships, what is true is kept, the tokens hold. By seed.

HALO_PROPERTY_RUNS=2000 runs that many, from HALO_PROPERTY_SEED on; a failure names its seed.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.store.reader import Reader
from halo_worker.analysis import analyst, evidence, overview
from halo_worker.analysis.draft import Draft, DraftFinding, Occurrence
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.work import Work
from halo_worker.config import AnalysisConfig, ModelConfig
from halo_worker.config_schedules import BudgetConfig
from halo_worker.errors import ModelRefused
from halo_worker.report.model import Engine, Evidence
from halo_worker.rlm.messages import Message, Reply, ToolCall, ToolSpec, Usage
from halo_worker.window import Window
from tests.worker.analysis.claims import LIMIT, QUOTE, TRUE
from tests.worker.analysis.conftest import BIG, HOSTILE, LONG, ORDER, Bench
from tests.worker.analysis.windows import BEGIN, span_id, trace_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

RUNS = int(os.environ.get("HALO_PROPERTY_RUNS", "12"))
FIRST = int(os.environ.get("HALO_PROPERTY_SEED", "0"))
TOKENS = 60_000

IDS = [trace_id(3), trace_id(BIG), trace_id(LONG), trace_id(HOSTILE), "f" * 32, "", "c0ffee", span_id(3, 2), "nope"]
PATTERNS = ["refund", ".", "(", ".*", "(?i)END", "x*", ""]
SQL = [
    "SELECT count(*) FROM spans", LIMIT, "DROP TABLE spans", "SELECT * FROM spans", "SELECT * FROM glob('*')",
    "SELECT trace_id, span_id FROM spans WHERE status_code = 'ERROR'", "SELECT 1 AS trace_id, 2 AS span_id", "(", "",
]  # fmt: skip
CODE = ["print(count_traces(filters={}))", "1/0", "x = query_sql(sql='SELECT 1 AS n')\nprint(x)", "import os", "(",
        f"print(view_trace(trace_id='{trace_id(HOSTILE)}'))", "final_answer(answer='from code')"]  # fmt: skip


class RandomAnalyst:
    """Calls anything with anything, and claims what is true, what is not, and what is no claim at all."""

    name = "random"

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.honest = dice.random() < 0.5  # whether all its answers hold the true finding, too

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        max_output_tokens: int | None = None,
        on_delta: Callable[[str], None] | None = None,
    ) -> Reply:
        usage = Usage(self.estimate(messages, tools), 40)
        if self.dice.random() < 0.02:
            raise ModelRefused("no", code="content_filter")
        if schema is not None:
            said = self.said(set(schema["properties"]), messages[-1].content or "")
            garbled = not self.honest and self.dice.random() < 0.5
            return Reply("no JSON at all" if garbled else json.dumps(said), usage=usage)
        calls = [self.call(number) for number in range(self.dice.choice([0, 1, 1, 1, 2]))] if tools else []
        return Reply("" if calls else self.dice.choice([ORDER, f"it fails in 4711 traces, see {'e' * 32}"]),
                     tuple(calls), usage, "tool_calls" if calls else "stop")  # fmt: skip

    def said(self, asked: set[str], text: str) -> Any:
        """Answer in the form that is asked for: a reader's notes or labels, a second look, or an answer."""
        dice = self.dice
        if "notes" in asked:
            categories = dice.choice([["Goal Deviation"], ["nonsense"], "Data Leak", None])
            true = [QUOTE | {"what": "x", "categories": ["Goal Deviation"]}] if self.honest else []
            return {"notes": [*true, self.quote() | {"what": "x", "categories": categories}]}
        if "stands" in asked:
            return {"stands": dice.random() < 0.5, "why": "x"}
        if "labels" not in asked:
            return self.answer()
        quote = dice.choice(["never said by anyone", "", QUOTE["quote"], "fine"])
        categories = dice.choice([["Goal Deviation"], ["nonsense"], [], ["Data Leak", "Tool-related"]])
        step = dice.choice(["S1", "S3", "S99", "x"])
        label = {"step": step, "what": "in 4711 traces", "quote": quote, "categories": categories}
        true = {"step": "S3", "what": "x", "quote": QUOTE["quote"], "categories": ["Goal Deviation"]}
        labels = [label] * dice.choice([0, 1, 2]) + ([true] if self.honest and trace_id(3) in text else [])
        return {"outcome": dice.choice(["ok", "wrong", "nonsense"]), "labels": labels}

    def call(self, number: int) -> ToolCall:
        dice = self.dice
        filters = dice.choice(
            [{}, {"has_errors": True}, {"regex_pattern": dice.choice(PATTERNS)}, {"nope": 1}, None, "x"]
        )
        name, arguments = dice.choice(
            [
                ("get_dataset_overview", {"filters": filters}),
                (
                    "query_traces",
                    {"filters": filters, "limit": dice.choice([1, 500, -1]), "offset": dice.choice([0, 10**9])},
                ),
                ("count_traces", {"filters": filters}),
                ("view_trace", {"trace_id": dice.choice(IDS)}),
                ("view_spans", {"trace_id": dice.choice(IDS), "span_ids": dice.choice([IDS, [], "x"])}),
                ("search_trace", {"trace_id": dice.choice(IDS), "regex_pattern": dice.choice(PATTERNS)}),
                ("search_spans", {"pattern": dice.choice(PATTERNS), "filters": filters}),
                ("query_sql", {"sql": dice.choice(SQL)}),
                ("run_code", {"code": dice.choice(CODE[: -1 if self.honest else None])}),  # the last one ends the run
                ("no_such_tool", {}),
                ("final_answer", self.answer()),
                ("final_answer", self.answer()),
            ]
        )
        return ToolCall(f"call-{dice.random()}-{number}", name, json.dumps(arguments))

    def answer(self) -> dict[str, Any]:
        findings = [self.finding() for _ in range(self.dice.choice([0, 1, 3]))]
        if self.honest:
            findings.insert(self.dice.randrange(len(findings) + 1), TRUE)
        return {
            "answer": f"{self.dice.choice(IDS)}: 4711 traces, 93 %, see {trace_id(3)}", "findings": findings,
            "hypotheses": self.dice.choice([None, "x", [self.verdict()], [self.verdict(), self.verdict()]]),
        }  # fmt: skip

    def verdict(self) -> Any:
        dice = self.dice
        return dice.choice([{}, {"id": "D1"}]) | {
            "verdict": dice.choice(["confirmed", "partly", "refuted", "nonsense"]),
            "why": dice.choice(["", "w 4711 runs"]),
            "evidence": [self.quote() for _ in range(dice.choice([0, 1]))],
            dice.choice(["keep", "drop"]): dice.choice([None, [trace_id(3)], ["f" * 32], self.spans(), *SQL]),
        }  # fmt: skip

    def spans(self) -> Any:
        real = {"trace_id": trace_id(7), "span_id": span_id(7, 2)}
        return self.dice.choice([None, "x", [real], [real, {"trace_id": "f" * 32, "span_id": "0"}], ["n1"], [{}], [[]]])

    def finding(self) -> dict[str, Any]:
        dice = self.dice
        return {
            "title": dice.choice(["A", "B", "Refunds fail in 4711 traces"]), "description": "In 4711 traces, 93 %.",
            "category": dice.choice(["Task Orchestration", "nonsense", "Unhandled Error"]),
            "evidence": [self.quote() for _ in range(dice.choice([0, 1, 2]))], "detector": dice.choice([None, *SQL]),
            "hypothesis": dice.choice([None, "D1", "D99"]), "affected": self.spans(),
        }  # fmt: skip

    def quote(self) -> dict[str, str]:
        dice = self.dice
        changed = {"quote": "never said by anyone"}, {"trace_id": "f" * 32}, {"field": "nope"}, {"span_id": "0"}, {}, {}
        return {**QUOTE, **dice.choice(changed)}

    def estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        return sum(len(message.content or "") for message in messages) // 4 + 1500

    def cost(self, usage: Usage) -> float | None:
        return None

    async def close(self) -> None:
        return


def detected() -> Draft:
    return Draft(
        engine=Engine(mode="detectors"),
        findings=[
            DraftFinding(
                title="refund fails", description="d", category="Unhandled Error", source="detector", confidence=0.9,
                key="refund", detector_name="error_other",
                occurrences=[Occurrence(trace_id(n), span_id(n, 1), span_id(n, 2)) for n in (3, 7, 9)],
                evidence=[Evidence(**QUOTE)],
            )
        ],
    )  # fmt: skip


async def test_nothing_made_up_ships_and_what_is_true_is_kept(
    bench: Bench, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stays(self: Questions) -> None:
        return

    monkeypatch.setattr(Questions, "of", classmethod(lambda cls, *_, **__: bench.desk.questions))
    monkeypatch.setattr(Questions, "close", stays)  # one process for all runs
    overview.prepare(reader)
    for seed in range(FIRST, FIRST + RUNS):
        dice = random.Random(seed)
        model = RandomAnalyst(dice)
        route = dice.choice(["loop", "loop", "direct", "map", "judge"])
        tokens = TOKENS if route == "loop" else 4_000_000
        work = Work(
            prompt=dice.choice([None, "Why?"]), model=ModelConfig.model_validate({}),
            budget=BudgetConfig.model_validate({"max_tokens": tokens, "max_turns": 8}),
            analysis=AnalysisConfig.model_validate({"route": route}),
            window=Window(BEGIN * 10**9, (BEGIN + 10**6) * 10**9), work_dir=tmp_path / str(seed), cache_dir=None,
            models=(model, model),
        )  # fmt: skip
        draft = await analyst.work_window(reader, detected(), work)
        where = f"HALO_PROPERTY_SEED={seed}, route {route}"
        claimed = [found for found in draft.findings if found.source == "rlm"]
        before = draft.rejected_citations, draft.rejected_findings
        verified = evidence.verify(reader, draft)
        assert (verified.rejected.citations, verified.rejected.findings) == before, where
        said = json.dumps([draft.answer, *([found.title, found.description] for found in claimed)])
        assert "4711" not in said, where
        assert "f" * 32 not in said, where
        assert "e" * 32 not in said, where
        known = [found.key for found in draft.findings if found.source == "detector"]
        assert known == ["refund"] or [one.verdict for one in draft.set_aside] == ["refuted"], where
        assert "4711" not in str([one.why for one in draft.set_aside]), where
        spans = {(one.trace_id, one.span_id) for found in draft.findings for one in found.occurrences}
        assert not spans & {("f" * 32, "0"), ("f" * 32, None)}, where
        looked_up = evidence.Spans(reader)
        assert all(looked_up.locate(one.trace_id, one.span_id, one.quote) for one in draft.labels), where
        read_all = not any("not judged" in one or "not read" in one for one in draft.not_examined)
        if model.honest and route in ("judge", "map") and read_all:
            labelled = {(one.span_id, one.category) for one in draft.labels}
            assert (span_id(3, 2), "Goal Deviation") in labelled, where
        if route == "loop":
            assert draft.engine.input_tokens + draft.engine.output_tokens <= TOKENS, where
        answered = draft.stopped_by is None and "the model gave no final answer" not in draft.not_examined
        if model.honest and answered:
            assert TRUE["title"] in [found.title for found in claimed], where
