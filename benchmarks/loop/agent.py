"""A small function-calling agent, as somebody would write it first. `revision` is the harness's version.

The model writes its call as text. It is parsed, checked against the function's schema as an API would, and carried out
(here: recorded). Spans: the model's calls by OpenInference's instrumentation of the OpenAI client, the agent and its
tools by hand, after the same convention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
from opentelemetry import trace

from benchmarks.loop.tasks import Task

KIND = "openinference.span.kind"
MAX_TOKENS = 160

EXAMPLE = """
For a function add with the properties a and b, "add two and three" is called as
{"name": "add", "arguments": {"a": 2, "b": 3}}
"""
SYSTEM = 'You can call functions. Reply with one call as JSON: {"name": "…", "arguments": {…}}\n\nFunctions:\n'


class NoCallError(Exception):
    """The reply holds no function call."""


class RefusedError(Exception):
    """A function does not take a call, and says why."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What differs between the versions of the harness."""

    version: str
    example: str = ""  # of a call, after the functions
    retries: int = 0  # times that the model is told why a call was refused, and asked again
    structured: bool = False  # the endpoint is given the schema of a call


# The second follows the report on the first: "Show the model the schema and one example, validate arguments before the
# call, and return which argument was wrong and why", "return the ids that exist", "return the parser's message". The
# third follows the report on the second, in which the example is called as a function, and what the first said beside:
# "Use the provider's structured output for this call".
REVISIONS = {
    one.version: one for one in (Revision("1"), Revision("2", EXAMPLE, retries=1), Revision("3", structured=True))
}


@dataclass(frozen=True, slots=True)
class Agent:
    """Answers tasks with a model behind an OpenAI client."""

    client: Any
    revision: Revision

    def __call__(self, task: Task) -> tuple[str, dict[str, Any]] | None:
        """Return the call that was carried out; None when there was none."""
        tracer = trace.get_tracer("loop")
        messages = [
            {"role": "system", "content": self._system(task)},
            {"role": "user", "content": task.question},
        ]
        given = {KIND: "AGENT", "agent.name": "caller", "input.value": task.question}
        with tracer.start_as_current_span("caller", attributes=given, record_exception=False) as span:
            try:
                called = self._work(messages, {one["name"]: one for one in task.functions})
            except (NoCallError, RefusedError) as error:
                span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                return None
            span.set_attribute("output.value", json.dumps(called))
            return called

    def _system(self, task: Task) -> str:
        return SYSTEM + json.dumps(task.functions, ensure_ascii=False) + self.revision.example

    def _work(self, messages: list[dict[str, str]], functions: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        form = {"response_format": _form(functions)} if self.revision.structured else {}
        for attempt in range(self.revision.retries + 1):
            reply = self.client.chat.completions.create(
                model="local", messages=messages, temperature=0, max_tokens=MAX_TOKENS, **form
            )
            text = reply.choices[0].message.content or ""
            try:
                return self._carried_out(text, functions)
            except (NoCallError, RefusedError) as error:
                if attempt == self.revision.retries:
                    raise
                messages += [
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": f"{error}. Reply with the corrected call as JSON, nothing else."},
                ]
        raise AssertionError("unreachable")

    def _carried_out(self, text: str, functions: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        name, arguments = parsed(text)
        given = {KIND: "TOOL", "tool.name": name, "input.value": json.dumps(arguments)}
        with trace.get_tracer("loop").start_as_current_span(name, attributes=given, record_exception=False) as span:
            try:
                carry_out(name, arguments, functions)
            except RefusedError as error:
                span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
                raise
            span.set_attribute("output.value", '{"accepted": true}')
        return name, arguments


def _form(functions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response format that allows a call of one of the functions, and nothing else."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                "arguments": {**function["parameters"], "additionalProperties": False},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, function in functions.items()
    ]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {"type": "json_schema", "json_schema": {"name": "call", "strict": True, "schema": schema}}


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return the first call in a reply. Raises NoCallError."""
    decoder, place, problem = json.JSONDecoder(), text.find("{"), ""
    while place >= 0:
        try:
            value, _ = decoder.raw_decode(text, place)
        except ValueError as error:
            value, problem = None, problem or f": {error}"
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            arguments = value.get("arguments")
            return value["name"], arguments if isinstance(arguments, dict) else {}
        place = text.find("{", place + 1)
    raise NoCallError(f"the reply holds no function call{problem}")


def carry_out(name: str, arguments: Mapping[str, Any], functions: Mapping[str, Any]) -> None:
    """Accept a call that its function's schema allows. Raises RefusedError, in the words of an API."""
    if name not in functions:
        raise RefusedError(f"404 not found: there is no function '{name}', there are: {', '.join(functions)}")
    schema = functions[name]["parameters"]
    unknown = arguments.keys() - schema.get("properties", {}).keys()
    if unknown:
        raise RefusedError(f"400 invalid request: unknown argument '{sorted(unknown)[0]}'")
    error = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(dict(arguments))), None)
    if error is not None:
        where = "".join(f" in '{part}'" for part in error.absolute_path)
        raise RefusedError(f"400 invalid request{where}: {error.message[:200]}")
