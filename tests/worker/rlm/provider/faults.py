"""What a provider or a model can do to a run, and how ours ends: the table behind the test and the benchmark.

A scenario's script is made for one harmless tool call (`look`), so that another engine can be put through it with a
tool of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.scripted_model import Answer, Call, Fault, Request, Say, Script

FINAL: Call = ("final_answer", {"answer": "the answer"})
MAX_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Scenario:
    """`ends`: with an `answer`, an explicit `error`, or an answer at a `limit`. `requests`: how many it takes."""

    name: str
    script: Callable[[Call], Script]
    ends: Literal["answer", "error", "limit"]
    requests: int
    says: str = ""  # in the reason


def _after(answers: Sequence[Answer]) -> Callable[[Call], Script]:
    """These answers, and then the final one."""

    def script(_: Call) -> Script:
        waiting: Iterator[Answer] = iter(answers)
        return lambda _: next(waiting, Say(calls=[FINAL]))

    return script


def _always(answer: Answer) -> Callable[[Call], Script]:
    return lambda _: lambda _: answer


def _between(fault: Fault, times: int) -> Callable[[Call], Script]:
    """A fault before every turn, each followed by a turn that works."""

    def script(look: Call) -> Script:
        turns: list[Answer] = [one for _ in range(times) for one in (fault, Say(calls=[look]))]
        return _after(turns)(look)

    return script


def _overflow(look: Call) -> Script:
    """The window is smaller than three results."""

    def script(request: Request) -> Answer:
        results = sum(1 for message in request.messages if message.get("role") == "tool" or "output" in message)
        if request.size > 60_000:
            return Fault(400, "context_length_exceeded", "This model's maximum context length is 16384 tokens")
        return Say(calls=[FINAL]) if results >= 6 else Say(calls=[look])

    return script


def _endless(look: Call) -> Script:
    """Never comes to an end by itself: it answers when nothing but the answer is offered."""
    return lambda request: Say(calls=[FINAL if request.tools == ["final_answer"] else look])


def _call(name: str, arguments: object) -> Callable[[Call], Script]:
    return _after([Say(calls=[(name, arguments)])])


PASSING = {
    "connection reset": Fault(kind="reset"),
    "no answer (timeout)": Fault(kind="hang"),
    "stream ends early": Fault(kind="truncate"),
    "connection cut mid-answer": Fault(kind="cut"),
    "408": Fault(408),
    "409": Fault(409),
    "429": Fault(429, "rate_limit_exceeded", "Rate limit reached"),
    "429 with Retry-After": Fault(429, "rate_limit_exceeded", "Rate limit reached", retry_after=0.05),
    "500": Fault(500),
    "502 with a page": Fault(502, kind="html"),
    "503": Fault(503),
    "529 overloaded": Fault(529, "overloaded_error"),
    "malformed JSON": Fault(kind="malformed"),
    "empty choices": Say(choices=False),
}

LASTING = {
    "401 wrong key": Fault(401, "invalid_api_key", "Incorrect API key provided"),
    "403": Fault(403, "permission_denied", "You may not use this model"),
    "404 no such model": Fault(404, "model_not_found", "The model does not exist"),
    "429 insufficient_quota": Fault(429, "insufficient_quota", "You exceeded your current quota"),
    "400 content filter": Fault(400, "content_filter", "The prompt was filtered"),
    "400 invalid request": Fault(400, "invalid_value", "Invalid value", param="messages[0].role"),
    "400 context too long at once": Fault(400, "context_length_exceeded", "maximum context length is 10 tokens"),
}

SCENARIOS = [
    *(Scenario(f"{name}, twice", _after([fault, fault]), "answer", 3) for name, fault in PASSING.items()),
    Scenario("500, for ever", _always(Fault(500)), "error", MAX_RETRIES + 1, "500"),
    Scenario("connection reset, for ever", _always(Fault(kind="reset")), "error", MAX_RETRIES + 1),
    Scenario("12 faults, each between turns that work", _between(Fault(503), 12), "answer", 25),
    *(Scenario(name, _always(fault), "error", 1, str(fault.code)) for name, fault in LASTING.items()),
    Scenario("context overflow in mid-run", _overflow, "answer", 0),
    Scenario("refusal, once", _after([Say(refusal="I cannot help with that.")]), "answer", 2),
    Scenario("refusal, for ever", _always(Say(refusal="No.")), "error", 2, "declined"),
    Scenario("text parts that are null", _after([Say("I look.", null_parts=True)]), "answer", 2),
    Scenario("no usage reported", _after([Say("I look.", usage=False)]), "answer", 2),
    Scenario("a tool that does not exist", _call("no_such_tool", {"x": 1}), "answer", 2),
    Scenario("arguments that are no JSON", _call("run_code", '{"code": "1'), "answer", 2),
    Scenario("call_subagent, wrong argument", _call("call_subagent", {"question": "?"}), "answer", 2),
    Scenario("answer cut at the output limit", _after([Say("so I", finish_reason="length")]), "answer", 2),
    Scenario("final answer cut, then whole", _call("final_answer", '{"answer": "the'), "answer", 2),
    Scenario("prose, and never an answer", _always(Say("I am thinking.")), "error", 2, "no final_answer"),
    Scenario("never comes to an end", _endless, "limit", 20),
]
