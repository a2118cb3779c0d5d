"""Traces for the page, as files that are imported: each import is a segment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from halo_worker import inputs

DAY = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
QUESTION = "Please send back 注文 the blue coat"
LONG = "x" * 50_000
FAILED = {"code": "STATUS_CODE_ERROR", "message": "no such order"}


def trace_id(number: int) -> str:
    return f"{number:032x}"


def span(
    number: int,
    place: int,
    parent: int | None,
    kind: str,
    attributes: dict[str, Any],
    *,
    failed: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """One span in HALO's flat form: `place` is its id, and when it starts within its trace."""
    start = DAY + timedelta(minutes=number, milliseconds=10 * place)
    return {
        "trace_id": trace_id(number), "span_id": f"{number:06x}{place:010x}",
        "parent_span_id": None if parent is None else f"{number:06x}{parent:010x}",
        "name": f"{kind.lower()} {place}", "kind": "SPAN_KIND_INTERNAL", "start_time": start.isoformat(),
        "end_time": (start + timedelta(milliseconds=500)).isoformat(), "scope": {"name": "x", "version": "1"},
        "resource": {"attributes": {"service.name": "shop"}},
        "attributes": {"openinference.span.kind": kind, **attributes},
        "status": FAILED if failed else {"code": "STATUS_CODE_OK"},
        **fields,
    }  # fmt: skip


def trace(number: int, *, agent: str = "Clerk", spans: int = 4, answer: str = "done") -> list[dict[str, Any]]:
    """An agent's span, a model call that asks for a tool, the tool, which fails in one of five, and more tools."""
    asked = {
        "agent.name": agent, "input.value": f"{QUESTION} {number}", "session.id": f"session-{number // 3}",
        "user.id": f"user-{number % 2}", "output.value": answer,
    }  # fmt: skip
    call = {
        "llm.model_name": "gpt-5.4", "llm.token_count.prompt": 100 * number, "llm.token_count.completion": 7,
        "llm.input_messages.0.message.role": "system", "llm.input_messages.0.message.content": "You sell coats.",
        "llm.input_messages.1.message.role": "user", "llm.input_messages.1.message.content": f"{QUESTION} {number}",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "refund",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"order": 17}',
    }  # fmt: skip
    made = [span(number, 1, None, "AGENT", asked), span(number, 2, 1, "LLM", call)]
    for place in range(3, spans):
        made.append(
            span(
                number,
                place,
                1,
                "TOOL",
                {"tool.name": "refund", "output.value": f"result {number}"},
                failed=number % 5 == 0,
            )
        )
    return made


def store(data_dir: Path, *rows: list[dict[str, Any]], at: int = 1) -> None:
    """Import spans as one segment."""
    data_dir.mkdir(exist_ok=True)
    file = data_dir / "spans.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for row in rows for one in row), encoding="utf-8")
    inputs.import_files(
        [str(file)], data_dir, now_ns=int(DAY.timestamp()) * 10**9 + at, arrival="now", say=lambda _: None
    )
