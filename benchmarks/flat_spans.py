"""Flat span lines as HALO's engine reads them: agents with model and tool spans, some failing. Reproducible.

`python -m benchmarks.flat_spans FILE SPANS`
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SPANS_PER_TRACE = 20
WORDS = ("the", "customer", "asked", "about", "order", "and", "refund", "but", "policy", "says", "within", "days", "so")
WORDS_A_TEXT = 60  # a span is then 2 KB; with 600 it is 13 KB, as spans are that carry whole conversations
START = 1_795_000_000  # seconds since the epoch
ERRORS = (
    "RateLimitError: 429 from upstream, retry after {n} s",
    "ToolError: refund_order: amount {n}.00 exceeds the limit of order ORD-{n}",
    "TimeoutError: search_orders did not answer within {n} s",
)


def trace_id(number: int) -> str:
    """Return the id of the trace with that number."""
    return f"{0xA0000000000000000000000000000000 + number:032x}"


def _iso(nano: int) -> str:
    return f"{datetime.fromtimestamp(nano // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{nano % 10**9:09d}Z"


def lines(spans: int, *, words: int = WORDS_A_TEXT, failing_share: float = 0.15, seed: int = 7) -> Iterator[str]:
    """Yield `spans` lines, trace by trace; a text has `words` words."""
    rng = random.Random(seed)
    for number in range(spans // SPANS_PER_TRACE):
        begin = START * 10**9 + number * 1_000_000_000
        fails = rng.random() < failing_share
        agent = ("support", "research", "coding")[number % 3]
        for index in range(SPANS_PER_TRACE):
            kind = "AGENT" if index == 0 else "TOOL" if index % 3 == 0 else "LLM"
            at = begin + index * 10_000_000
            bad = fails and index in (0, 12)
            text = " ".join(rng.choices(WORDS, k=words))
            attributes: dict[str, Any] = {
                "openinference.span.kind": kind, "inference.agent_name": agent, "agent.name": agent,
                "session.id": f"session-{number // 3}", "input.value": text, "output.value": text[::-1],
            }  # fmt: skip
            if kind == "LLM":
                attributes |= {
                    "llm.model_name": "gpt-5.4-mini", "inference.llm.model_name": "gpt-5.4-mini",
                    "inference.llm.input_tokens": 900 + index, "inference.llm.output_tokens": 80,
                    "llm.token_count.prompt": 900 + index, "llm.token_count.completion": 80,
                    "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": text,
                    "llm.output_messages.0.message.role": "assistant",
                    "llm.output_messages.0.message.content": text[::-1],
                }  # fmt: skip
            if kind == "TOOL":
                attributes["tool.name"] = ("search_orders", "refund_order")[index % 2]
            message = rng.choice(ERRORS).format(n=rng.randint(1, 9999)) if bad else ""
            yield json.dumps({
                "trace_id": trace_id(number), "span_id": f"{number * 100 + index + 1:016x}",
                "parent_span_id": "" if index == 0 else f"{number * 100 + 1:016x}", "trace_state": "",
                "name": f"{kind.lower()} {attributes.get('tool.name', agent)}", "kind": "SPAN_KIND_INTERNAL",
                "start_time": _iso(at), "end_time": _iso(at + 8_000_000),
                "status": {"code": "STATUS_CODE_ERROR" if bad else "STATUS_CODE_OK", "message": message},
                "resource": {"attributes": {"service.name": agent}}, "scope": {"name": "bench", "version": "1"},
                "attributes": attributes,
            })  # fmt: skip


def failing(spans: int, *, count: int, words: int = WORDS_A_TEXT) -> list[tuple[str, str]]:
    """Return (trace id, span id) of the first failing spans."""
    found = []
    for line in lines(spans, words=words):
        if '"STATUS_CODE_ERROR"' in line:
            span = json.loads(line)
            found.append((span["trace_id"], span["span_id"]))
            if len(found) == count:
                break
    return found


def write(path: Path, spans: int, *, words: int = WORDS_A_TEXT, failing_share: float = 0.15) -> None:
    """Write the file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines(spans, words=words, failing_share=failing_share))


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
