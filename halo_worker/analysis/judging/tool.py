"""judge_traces: have the sub model judge traces and put labels on their steps."""

from __future__ import annotations

from typing import Any

from halo_worker.analysis.judging.judge import Judge, summary
from halo_worker.analysis.tools.filters import FILTERS_SCHEMA, condition
from halo_worker.analysis.tools.fit import LIST_BYTES, fitted, for_model
from halo_worker.analysis.tools.shared import tool
from halo_worker.rlm.tool import CODE_BYTES, Tool, ToolError

MAX_TRACES = 400  # of one call


def judge_tool(judge: Judge) -> Tool:
    """Return the tool."""

    async def call(arguments: dict[str, Any], max_bytes: int) -> Any:
        wanted = arguments.get("traces")
        if wanted:
            ids = [await judge.desk.trace_id(one, CODE_BYTES) for one in wanted[:MAX_TRACES]]
            total = len(wanted)
        else:
            where, parameters = condition(arguments.get("filters"), judge.desk.hypotheses)
            found = await judge.desk.questions.rows(
                f"SELECT trace_id FROM traces t WHERE {where} ORDER BY hash(trace_id)", parameters,
                max_rows=MAX_TRACES, count=True,
            )  # fmt: skip
            ids, total = [row["trace_id"] for row in found.rows], found.total or len(found.rows)
        if not ids:
            raise ToolError("no trace is meant: name traces, or filters that some trace meets")
        done = await judge.judge(ids, str(arguments.get("rubric") or ""))
        head = summary(judge, done)
        if total > len(ids):
            head["not_judged"] = f"{total - len(ids)} traces: at most {MAX_TRACES} at once"
        notes = judge.desk.notes.notes
        said = [(name, notes[name].said) for name in done.note_ids]
        rows = [[name, one.trace_id, one.step, *one.categories, one.told] for name, one in said]
        return fitted(head, "notes", rows, for_model(max_bytes, LIST_BYTES),
                      lambda left: f"{left} notes: SELECT … FROM labels")  # fmt: skip

    return tool(
        "judge_traces",
        "Have the sub model judge traces. Its verified labels: table labels(trace_id, span_id, step, category, what, "
        "quote, note_id, issue_id), with those of earlier windows (no note_id; issue_id: what each became).",
        {
            "traces": {"type": "array", "items": {"type": "string"}},
            "filters": FILTERS_SCHEMA,
            "rubric": {"type": "string"},
        },
        call,
    )
