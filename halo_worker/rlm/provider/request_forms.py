"""Forms of a request that some endpoints refuse, and how to tell from the refusal which one it was. Pure.

Each is a part of the request that can be left out or said otherwise; `openai_model` builds requests without those that
were refused. The order counts: the first form that the request has and the words name is the one that goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from halo_worker.rlm.provider.error_body import ErrorBody

Body = dict[str, Any]

SYSTEM = "the system role"  # the instructions go into the first user message
REPEATED_ROLES = "two messages of one role in a row"  # they are joined
CALLS = "tool calls in the history"  # they and their results are told as text
JSON_SCHEMA = "a JSON schema"  # response_format json_object is asked for, and the schema told as text
JSON_OBJECT = "JSON mode"  # asked for in words alone

_REFUSAL = re.compile(
    r"unsupported|(not|n't) support|unknown|unrecogni[sz]ed|unexpected|not permitted|extra (inputs|fields)|forbidden|"
    r"does not (accept|take)|no endpoints found|cannot use|invalid (parameter|field|argument|value|role|option)|"
    r"not (allowed|available|enabled|implemented|valid|recogni[sz]ed)|unavailable|disabled|deserialize|should be|"
    r"must (alternate|be|contain)|only .{0,60}(support|allow|accept)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Form:
    """`named` finds it in a refusal; `used` says whether a request has it. `alone`: its name is refusal enough."""

    name: str
    named: re.Pattern[str]
    used: Callable[[Body], bool]
    param: str = ""
    alone: bool = False


def _messages(body: Body) -> list[dict[str, Any]]:
    return [one for one in body.get("messages") or body.get("input") or () if isinstance(one, dict)]


def _has_system(body: Body) -> bool:
    return any(one.get("role") == "system" for one in _messages(body))


def _repeats_roles(body: Body) -> bool:
    roles = [one.get("role") for one in _messages(body)]
    return any(role == after != "tool" and role for role, after in pairwise(roles))


def has_calls(body: Body) -> bool:
    """Whether the history of a request holds tool calls or their results."""
    return any(one.get("tool_calls") or one.get("role") == "tool" or "call_id" in one for one in _messages(body))


def _answer_form(kind: str) -> Callable[[Body], bool]:
    def used(body: Body) -> bool:
        form = body.get("response_format") or (body.get("text") or {}).get("format") or {}
        return bool(form.get("type") == kind)

    return used


def _parameter(name: str, words: str = "") -> Form:
    pattern = rf"(?<![a-z_]){name}(?![a-z_])" + (f"|{words}" if words else "")
    return Form(name, re.compile(pattern, re.IGNORECASE), lambda body: name in body, param=name)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_STRUCTURED = _words(
    r"response.?format|json.?schema|json.?(mode|object)|structured.?output|guided|grammar|text\.format|generate JSON|"
    r"json_validate_failed"
)
FORMS = (
    Form(
        SYSTEM,
        _words(
            r"system.{0,20}(role|message|prompt|instruction)|role.{0,30}system|['\"`]system['\"`]|"
            r"developer instruction|"
            r"\broles?\b.{0,60}(alternate|user)|user\b.{0,20}\broles?\b"
        ),
        _has_system,
    ),
    Form(REPEATED_ROLES, _words(r"alternat|consecutive|successive|interleav|same role"), _repeats_roles),
    Form(CALLS, _words(r"\broles?\b|tool_call_id|messages?\[\d+\]|['\"`]tool['\"`]"), has_calls),
    Form(JSON_SCHEMA, _STRUCTURED, _answer_form("json_schema"), param="response_format", alone=True),
    Form(JSON_OBJECT, _STRUCTURED, _answer_form("json_object"), param="response_format", alone=True),
    _parameter("max_completion_tokens"),
    _parameter("max_tokens"),
    _parameter("max_output_tokens"),
    _parameter("parallel_tool_calls", r"parallel (tool|function)"),
    _parameter("reasoning_effort", r"\b(reasoning|thinking|effort)\b"),
    _parameter("reasoning", r"\b(thinking|effort)\b"),
    _parameter("temperature"),
    _parameter("stream_options"),
    _parameter("stream", r"\bstreaming\b"),
    _parameter("store"),
    _parameter("prompt_cache_key"),
    # The last resort: tools are described in words.
    _parameter("tools", r"\b(tool|function)[ _-]?(use|call|choice)|\b(tool|function) calling"),
)


def refused(said: ErrorBody, body: Body) -> str | None:
    """Return the name of the form of `body` that a refusal speaks of; None where it speaks of none."""
    is_refusal = bool(_REFUSAL.search(said.words))
    param = "response_format" if said.param == "text" else said.param
    for form in FORMS:
        if form.used(body) and form.param and form.param == param and (is_refusal or form.name != "tools"):
            return form.name
    for form in FORMS:
        if form.used(body) and (is_refusal or form.alone) and form.named.search(said.words):
            return form.name
    return None
