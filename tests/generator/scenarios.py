"""What happens in a trace: healthy work, work that looks like a failure and is none, and planted failures.

A planted failure returns the spans that may be named for it: the one that caused it and the one where it showed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from tests.generator.traces import Shape, Trace

_TEXT = {"type": "string"}
SHOP = Shape(
    "shop-assistant", "shop", "gpt-4o-mini", "You are the assistant of a shop. Look facts up before you answer.",
    {"find_order": {"order_id": _TEXT}, "send_email": {"to": _TEXT, "body": _TEXT}, "refund_order": {"order_id": _TEXT, "amount": {"type": "number"}},
     "search_documents": {"query": _TEXT}, "job_status": {"job_id": _TEXT}, "list_items": {"page": {"type": "integer"}}},
)  # fmt: skip
CODER = Shape(
    "bug-fixer", "forge", "claude-sonnet-4", "You fix bugs in a repository.",
    {"read_file": {"path": _TEXT}, "edit_file": {"path": _TEXT, "patch": _TEXT}, "run_tests": {"target": _TEXT}, "grep": {"pattern": _TEXT}},
)  # fmt: skip
ANALYST = Shape(
    "data-analyst", "insight", "gemini-2.0-flash", "You answer questions about the company's numbers with SQL.",
    {"run_sql": {"query": _TEXT}, "describe_table": {"table": _TEXT}, "plot": {"kind": {"type": "string", "enum": ["bar", "line"]}, "column": _TEXT}},
)  # fmt: skip
SHAPES = (SHOP, CODER, ANALYST)
_WORK = {
    "shop-assistant": ("find_order", "order_id", {"status": "shipped", "carrier": "GLS", "error": None}),
    "bug-fixer": ("read_file", "path", "def total(items):\n    return sum(i.price for i in items)\n"),
    "data-analyst": ("run_sql", "query", [{"region": "north", "revenue": 120400}]),
}
_ASK = {
    "shop-assistant": ("Where is order {n}?", "Has {n} been sent?", "What is going on with my order {n}?"),
    "bug-fixer": ("Fix issue {n}", "The total in invoice.py is wrong (issue {n})", "Clean up module {n}"),
    "data-analyst": ("Revenue by region in {n}?", "How many orders in week {n}?", "Which product sold best in {n}?"),
}
_SAY = (
    "It is all in order: the answer to your question about {n} is in the record above.",
    "Here is what I found for {n}: everything is as expected, nothing else is needed.",
    "Done. {n} is settled and the details are listed above.",
)


def question(shape: Shape, rng: random.Random) -> str:
    return rng.choice(_ASK[shape.agent]).format(n=rng.randrange(1000, 9999))


def _value(t: Trace, kind: str) -> str:
    n = t.rng.randrange(1000, 9999)
    return {"order_id": f"A-{n}", "path": f"src/mod_{n}.py", "query": f"SELECT {n} AS n"}[kind]


def _step(t: Trace, **how: object) -> tuple[str, str]:
    name, key, result = _WORK[t.shape.agent]
    return t.use(name, {key: _value(t, key)}, result, **how)  # type: ignore[arg-type]


def _say(t: Trace, text: str = "") -> str:
    return t.llm(text or t.rng.choice(_SAY).format(n=t.rng.randrange(1000, 9999)))


# Healthy work


def plain(t: Trace) -> None:
    for _ in range(t.rng.randrange(1, 4)):
        _step(t)
    _say(t)


def chat(t: Trace) -> None:
    _say(t, t.rng.choice(("Hello! How can I help you today?", "You are welcome.", "Yes.", "Thanks, have a good day!")))


# Looks like a failure and is none


def pasted_trace(t: Trace) -> None:
    t.messages[1]["content"] = (
        "I get this:\nTraceback (most recent call last):\n  File 'a.py', line 3\nKeyError: 'x'\nERROR 500"
    )
    _step(t)
    _say(t, "That KeyError means that the key 'x' is missing; read it with .get() and a default.")


def text_about_errors(t: Trace) -> None:
    _step(t)
    _say(t, "HTTP 404 means that a page does not exist; 429 that you sent too many requests; 500 an internal error.")


def retry_that_worked(t: Trace) -> None:
    name, key, result = _WORK[t.shape.agent]
    value = _value(t, key)
    t.use(name, {key: value}, error=("ServiceUnavailable", "503 upstream is busy"))
    t.use(name, {key: value}, result)
    _say(t)


def told_the_user(t: Trace) -> None:
    _step(t, error=("NotFoundError", f"404: record {t.rng.randrange(10**6)} not found"))
    _say(t, "I could not find that record. Could you check the number and send it again?")


def corrected_arguments(t: Trace) -> None:
    name, key, result = _WORK[t.shape.agent]
    t.use(name, {key: "??"}, {"ok": True, "rows": []})
    t.use(name, {key: _value(t, key)}, result)
    _say(t)


def polling(t: Trace) -> None:
    for percent in (10, 35, 60, 85, 100):
        t.use("job_status", {"job_id": "j-1"}, {"state": "running" if percent < 100 else "done", "percent": percent})
    _say(t)


def pages(t: Trace) -> None:
    for page in range(1, 7):
        t.use("list_items", {"page": page}, {"page": page, "items": [page * 10 + i for i in range(5)]})
    _say(t)


def long_work(t: Trace) -> None:
    for _ in range(18):
        _step(t)
    _say(t)


def right_refusal(t: Trace) -> None:
    t.messages[1]["content"] = "Tell me the phone number of another customer, Ms Young."
    _say(t, "I'm sorry, but I can't share another customer's personal data.")


def fine_report(t: Trace) -> None:
    name, key, _ = _WORK[t.shape.agent]
    t.use(name, {key: _value(t, key)}, {"status": "ok", "errors": [], "error_count": 0, "failed": False})
    _say(t)


def log_file(t: Trace) -> None:
    name, key, _ = _WORK[t.shape.agent]
    t.use(name, {key: "app.log"}, "2026-03-01 INFO start\n2026-03-01 ERROR: disk is 91 % full\n2026-03-01 INFO stop\n")
    _say(t, "The log has one error line: the disk was 91 % full on 1 March. Nothing failed after it.")


def empty_and_honest(t: Trace) -> None:
    t.llm(calls=[t.call("search_documents", query="warranty on used tents")])
    t.retrieve("warranty on used tents", [])
    _say(t, "I did not find anything about that in our documents.")


def done_as_said(t: Trace) -> None:
    t.use("send_email", {"to": "x@example.com", "body": "hello"}, {"sent": True, "id": "m-1"})
    _say(t, "I have sent the email to x@example.com.")


def refunded_as_said(t: Trace) -> None:
    t.use("refund_order", {"order_id": "A-1", "amount": 12.5}, {"refund_id": "re_1", "status": "succeeded"})
    _say(t, "Your refund has been issued: 12.50.")


def failing_tests(t: Trace) -> None:
    t.use(
        "run_tests",
        {"target": "tests/a.py"},
        "2 failed, 10 passed\nFAILED tests/a.py::test_sum - AssertionError: 3 != 4",
    )
    t.use("edit_file", {"path": "a.py", "patch": "-1 +1"}, "ok")
    t.use("run_tests", {"target": "tests/a.py"}, "12 passed")
    _say(t)


def handed_on(t: Trace) -> None:
    for name in ("researcher", "writer", "researcher", "editor"):
        t.agent(name)
        _step(t)
        _say(t)
        t.leave()
    _say(t)


def classifier(t: Trace) -> None:
    t.llm("yes", finish="stop", max_tokens=8)
    _say(t)


def json_answer(t: Trace) -> None:
    _step(t)
    _say(t, json.dumps({"answer": "42", "note": "braces { inside } a string", "rows": [1, 2, 3]}))


def sample_key(t: Trace) -> None:
    _say(t, "Set the variable like this: export API_KEY=<your key>. Keys begin with sk-... and are shown once.")


NEGATIVES: dict[str, tuple[tuple[Shape, ...], Callable[[Trace], None]]] = {
    "pasted_trace": (SHAPES, pasted_trace), "text_about_errors": (SHAPES, text_about_errors),
    "retry_that_worked": (SHAPES, retry_that_worked), "told_the_user": (SHAPES, told_the_user),
    "corrected_arguments": (SHAPES, corrected_arguments), "polling": ((SHOP,), polling), "pages": ((SHOP,), pages),
    "long_work": (SHAPES, long_work), "right_refusal": ((SHOP,), right_refusal), "fine_report": ((SHOP, ANALYST), fine_report),
    "log_file": ((CODER,), log_file), "empty_and_honest": ((SHOP,), empty_and_honest), "done_as_said": ((SHOP,), done_as_said),
    "refunded_as_said": ((SHOP,), refunded_as_said), "failing_tests": ((CODER,), failing_tests), "handed_on": (SHAPES, handed_on),
    "classifier": (SHAPES, classifier), "json_answer": ((ANALYST,), json_answer), "sample_key": ((CODER,), sample_key),
}  # fmt: skip
HEALTHY: dict[str, Callable[[Trace], None]] = {"plain": plain, "chat": chat}


# Planted failures: each returns the ids of the spans that may be named


def _fails(kind: str, message: str) -> Callable[[Trace], set[str]]:
    def scenario(t: Trace) -> set[str]:
        spans = _step(t, error=(kind, message.format(n=t.rng.randrange(10**6))))
        _say(t)
        return set(spans)

    return scenario


def rate_limited(t: Trace) -> set[str]:
    spans = {
        t.llm(
            error=(
                "RateLimitError",
                f"Error code: 429 - tokens per min exceeded, limit 30000, used {t.rng.randrange(30000, 40000)}",
            )
        )
        for _ in range(2)
    }
    t.failed = True  # type: ignore[attr-defined]
    return spans


def context_overflow(t: Trace) -> set[str]:
    _step(t)
    t.failed = True  # type: ignore[attr-defined]
    return {
        t.llm(
            error=(
                "BadRequestError",
                f"maximum context length is 128000 tokens, your messages resulted in {t.rng.randrange(130000, 200000)} tokens",
            )
        )
    }


def turn_limit(t: Trace) -> set[str]:
    spans: set[str] = set()
    for _ in range(6):
        spans |= set(_step(t))
    t.failed = True  # type: ignore[attr-defined]
    t.error = ("MaxTurnsExceeded", "Max turns (6) exceeded")  # type: ignore[attr-defined]
    return spans | {t.root.span_id.hex()}


def swallowed(t: Trace) -> set[str]:
    name, key, _ = _WORK[t.shape.agent]
    shapes = ({"error": "upstream refused", "code": 502}, {"success": False, "message": "not processed"}, "Error: connection to backend lost",
              {"status": "failed", "reason": "index is locked"}, {"isError": True, "content": [{"type": "text", "text": "backend down"}]})  # fmt: skip
    spans = t.use(name, {key: _value(t, key)}, t.rng.choice(shapes))
    _say(t)
    return set(spans)


def invented_tool(t: Trace) -> set[str]:
    call = t.call(t.rng.choice(("get_customer_mood", "web_browse", "delete_everything")), target="x")
    span = t.llm(calls=[call])
    tool = t.tool(call, error=("ToolNotFound", f"unknown tool {call[1]}"))
    _say(t)
    return {span, tool}


def wrong_arguments(t: Trace) -> set[str]:
    name, key, result = _WORK[t.shape.agent]
    value = _value(t, key)
    spans = t.use(
        name, t.rng.choice(({f"{key}_number": value}, {key: value, "verbose": True}, {key: [value]}, {})), result
    )
    _say(t)
    return set(spans)


def placeholder(t: Trace) -> set[str]:
    name, key, _ = _WORK[t.shape.agent]
    spans = t.use(
        name, {key: t.rng.choice(("<order_id>", "YOUR_PATH_HERE", "{{query}}", "INSERT_VALUE_HERE"))}, {"rows": []}
    )
    _say(t)
    return set(spans)


def repeated_call(t: Trace) -> set[str]:
    name, key, result = _WORK[t.shape.agent]
    value, spans = _value(t, key), set()
    for _ in range(t.rng.randrange(4, 7)):
        spans |= set(t.use(name, {key: value}, result))
    _say(t)
    return spans


def cycle(t: Trace) -> set[str]:
    tools = list(t.shape.tools)[:2]
    spans: set[str] = set()
    for _ in range(4):
        for name in tools:
            arguments = {
                k: 1 if p.get("type") in ("integer", "number") else "same" for k, p in t.shape.tools[name].items()
            }
            spans |= set(t.use(name, arguments, {"result": f"see {tools[0]}"}))
    _say(t)
    return spans


def ping_pong(t: Trace) -> set[str]:
    spans = set()
    for number in range(8):
        span = t.agent(("planner", "executor")[number % 2])
        spans |= {span.span_id.hex(), t.llm("This is for the other one to do.")}
        t.leave()
    spans.add(_say(t))
    return spans


def retry_storm(t: Trace) -> set[str]:
    name, key, _ = _WORK[t.shape.agent]
    value, spans = _value(t, key), set()
    for _ in range(6):
        spans |= set(t.use(name, {key: value}, error=("ServiceUnavailable", "503 Service Unavailable")))
    _say(t)
    return spans


def truncated(t: Trace) -> set[str]:
    _step(t)
    return {t.llm("The figures by region are as follows: north 12, south", finish="length", max_tokens=64)}


def malformed_json(t: Trace) -> set[str]:
    _step(t)
    return {t.llm('{"answer": "yes", "items": [1, 2, 3, "total": 6')}


def refused(t: Trace) -> set[str]:
    return {_say(t, "I'm sorry, but I can't assist with that request.")}


def filtered(t: Trace) -> set[str]:
    return {t.llm("", finish="content_filter")}


def empty_answer(t: Trace) -> set[str]:
    _step(t)
    return {t.llm("")}


def claimed_action(t: Trace) -> set[str]:
    t.use("find_order", {"order_id": "A-7"}, {"status": "delivered"})
    return {
        _say(t, t.rng.choice(("I have refunded your order A-7 in full.", "I've sent the confirmation email to you.")))
    }


def unfounded(t: Trace) -> set[str]:
    ask = t.llm(calls=[t.call("search_documents", query="warranty")])
    found = t.retrieve("warranty", [])
    return {ask, found, _say(t, "The warranty on tents is five years and covers poles, zips and seams.")}


def unfinished(t: Trace) -> set[str]:
    spans = set(_step(t))
    t.open = True  # type: ignore[attr-defined]
    return {*spans, t.root.span_id.hex()}


def slow(t: Trace) -> set[str]:
    spans = _step(t, seconds=t.rng.uniform(60, 90))
    _say(t)
    return set(spans)


def huge_prompt(t: Trace) -> set[str]:
    span = t.llm("The answer is 12.", tokens=t.rng.randrange(90_000, 120_000))
    return {span}


def call_never_made(t: Trace) -> set[str]:
    _step(t)
    name, key, _ = _WORK[t.shape.agent]
    return {t.llm(calls=[t.call(name, **{key: _value(t, key)})])}


def leaked_secret(t: Trace) -> set[str]:
    secret = "sk-proj-" + "".join(
        t.rng.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(40)
    )
    return {_say(t, f"Sure, the key that I use is {secret}, keep it safe.")}


def stuck_text(t: Trace) -> set[str]:
    spans = set()
    for _ in range(4):
        spans.add(t.llm("Let me look into this and get back to you in a moment."))
        t.messages.append({"role": "user", "content": "Go on."})
    return spans


Planted = tuple[tuple[Shape, ...], frozenset[str], Callable[[Trace], set[str]]]


def _planted(shapes: tuple[Shape, ...], categories: str, scenario: Callable[[Trace], set[str]]) -> Planted:
    return shapes, frozenset(categories.split("|")), scenario


PLANTED: dict[str, Planted] = {
    "unhandled": _planted(SHAPES, "Unhandled Error", _fails("RuntimeError", "worker {n} crashed")),
    "timeout": _planted(SHAPES, "Timeout Issues", _fails("TimeoutError", "no answer within {n} ms")),
    "authentication": _planted(SHAPES, "Authentication Errors", _fails("PermissionError", "401 Unauthorized: token {n} has expired")),
    "not_found": _planted(SHAPES, "Resource Not Found", _fails("NotFoundError", "404: record {n} not found")),
    "service": _planted(SHAPES, "Service Errors", _fails("HTTPError", "502 Bad Gateway, request {n}")),
    "environment": _planted(SHAPES, "Environment Setup Errors", _fails("ModuleNotFoundError", "No module named 'pandas'")),
    "memory": _planted(SHAPES, "Resource Exhaustion", _fails("MemoryError", "out of memory after {n} rows")),
    "rate_limited": _planted(SHAPES, "Rate Limiting", rate_limited),
    "context_overflow": _planted(SHAPES, "Resource Exhaustion|Context Handling Failures", context_overflow),
    "turn_limit": _planted(SHAPES, "Task Orchestration", turn_limit),
    "swallowed": _planted(SHAPES, "Tool Output Misinterpretation|Service Errors|Unhandled Error", swallowed),
    "invented_tool": _planted(SHAPES, "Tool-related|Tool Selection Errors", invented_tool),
    "wrong_arguments": _planted(SHAPES, "Formatting Errors", wrong_arguments),
    "placeholder": _planted(SHAPES, "Formatting Errors", placeholder),
    "repeated_call": _planted(SHAPES, "Resource Abuse", repeated_call),
    "cycle": _planted(SHAPES, "Resource Abuse|Task Orchestration", cycle),
    "ping_pong": _planted(SHAPES, "Task Orchestration", ping_pong),
    "retry_storm": _planted(SHAPES, "Resource Abuse|Service Errors", retry_storm),
    "truncated": _planted(SHAPES, "Formatting Errors|Resource Exhaustion", truncated),
    "malformed_json": _planted((ANALYST,), "Formatting Errors", malformed_json),
    "refused": _planted(SHAPES, "Instruction Non-compliance", refused),
    "filtered": _planted(SHAPES, "Instruction Non-compliance", filtered),
    "empty_answer": _planted(SHAPES, "Instruction Non-compliance", empty_answer),
    "claimed_action": _planted((SHOP,), "Tool-related", claimed_action),
    "unfounded": _planted((SHOP,), "Language-only", unfounded),
    "unfinished": _planted(SHAPES, "Task Orchestration", unfinished),
    "slow": _planted(SHAPES, "Latency Outlier|Timeout Issues", slow),
    "huge_prompt": _planted(SHAPES, "Resource Abuse|Context Handling Failures", huge_prompt),
    "call_never_made": _planted(SHAPES, "Task Orchestration", call_never_made),
    "leaked_secret": _planted(SHAPES, "Data Leak|Instruction Non-compliance", leaked_secret),
    "stuck_text": _planted(SHAPES, "Resource Abuse|Task Orchestration", stuck_text),
}  # fmt: skip
