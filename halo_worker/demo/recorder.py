"""Records what an agent does as spans of the real OpenTelemetry SDK, on a clock that scenarios move themselves.

A scenario says what happens ("the model calls this tool, the tool answers that"); the recorder keeps the
conversation, counts tokens, spends time and writes it all down in the convention of the agent's instrumentation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from halo_worker.demo.conventions import Attributes, Call, Convention, Message, ModelCall

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is offered to a model."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def definition(self) -> dict[str, Any]:
        """The definition in the form of the model APIs, with a closed schema and everything required."""
        schema = {"type": "object", "properties": self.parameters, "required": list(self.parameters)}
        return {"type": "function", "name": self.name, "description": self.description, "parameters": schema}


@dataclass(frozen=True, slots=True)
class Agent:
    """Who acts: one build of one service."""

    name: str
    service: str
    version: str
    model: str
    provider: str
    system: str
    convention: Convention
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """How something failed, as the instrumentation records an exception."""

    kind: str
    message: str
    where: str = "app/tools.py"

    @property
    def stacktrace(self) -> str:
        """What Python would have printed."""
        return f'Traceback (most recent call last):\n  File "{self.where}", line 88, in call\n{self.kind}: {self.message}\n'


@dataclass(slots=True)
class Clock:
    """The time in the scenario: only `spend` moves it."""

    now_ns: int

    def spend(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND)


@dataclass(slots=True)
class Conversation:
    """One agent at work within one trace: its messages so far, its span, its clock.

    `case` draws what the question was about, again and the same; `rng` draws all the rest.
    """

    tracer: Tracer
    agent: Agent
    rng: random.Random
    case: random.Random
    clock: Clock
    span: Span
    session: str
    user: str
    messages: list[Message] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0

    def ask(
        self,
        text: str = "",
        calls: Sequence[Call] = (),
        *,
        finish: str | None = None,
        max_tokens: int = 4096,
        seconds: float | None = None,
        failure: Failure | None = None,
    ) -> None:
        """The model is called with all that was said, and answers with text, tool calls, or an error."""
        output = [] if failure else [Message("assistant", text, list(calls))]
        prompt = sum(message.tokens for message in self.messages) + len(self.agent.system) // 4
        prompt += sum(60 + len(json.dumps(tool.parameters)) // 4 for tool in self.agent.tools)
        answer = sum(message.tokens for message in output)
        call = ModelCall(
            agent=self.agent.name,
            model=self.agent.model,
            provider=self.agent.provider,
            system=self.agent.system,
            tools=[tool.definition for tool in self.agent.tools],
            messages=list(self.messages),
            output=output,
            finish=finish or ("tool_calls" if calls else "stop"),
            max_tokens=max_tokens,
            input_tokens=prompt,
            cached_tokens=prompt // 256 * 128 if len(self.messages) > 2 else 0,
            output_tokens=max_tokens if finish == "length" else answer,
            session=self.session,
            response_id=f"resp_{self.rng.getrandbits(96):024x}",
        )
        convention = self.agent.convention
        with self._child(convention.llm_name(call), convention.llm(call), kind=SpanKind.CLIENT, failure=failure):
            self.clock.spend(seconds or (0.35 + call.output_tokens * 0.009) * self.rng.lognormvariate(0, 0.3))
        if not failure:
            self.messages.extend(output)
            self.input_tokens += prompt
            self.output_tokens += call.output_tokens

    def run(
        self, call: Call, result: Any = None, *, seconds: float | None = None, failure: Failure | None = None
    ) -> None:
        """A tool is run, and its result, or the error, becomes the next message."""
        text = f"Error: {failure.message}" if failure else result if isinstance(result, str) else json.dumps(result)
        convention = self.agent.convention
        attributes = convention.tool(call, None if failure else text, self.session)
        with self._child(convention.tool_name(call), attributes, failure=failure):
            self.clock.spend(seconds or self.rng.lognormvariate(-1.6, 0.6))
        self.messages.append(Message("tool", text, call_id=call.id, name=call.name))

    def use(self, name: str, arguments: dict[str, Any], result: Any = None, **how: Any) -> None:
        """The model calls a tool, and the tool is run."""
        call = self.call(name, arguments)
        self.ask(calls=[call])
        self.run(call, result, **how)

    def call(self, name: str, arguments: dict[str, Any]) -> Call:
        """A tool call with an id of its own."""
        return Call(f"call_{self.rng.getrandbits(80):020x}", name, arguments)

    def retrieve(self, query: str, documents: Sequence[tuple[str, str, float]], *, source: str) -> None:
        """Documents (id, text, score) are looked up and given to the model."""
        attributes = self.agent.convention.retriever(query, documents, source, self.session)
        with self._child(self.agent.convention.retriever_name(source), attributes, kind=SpanKind.CLIENT):
            self.clock.spend(self.rng.lognormvariate(-2.2, 0.5))
        context = "\n\n".join(f"[{number}] {text}" for number, (_, text, _) in enumerate(documents, 1))
        self.messages.append(Message("user", f"Context:\n{context}\n\nQuestion: {query}"))

    def embed(self, text: str, model: str) -> None:
        """A text is embedded."""
        attributes = self.agent.convention.embedding(text, model, self.agent.provider)
        with self._child(f"embeddings {model}", attributes, kind=SpanKind.CLIENT):
            self.clock.spend(self.rng.lognormvariate(-2.5, 0.3))

    @contextmanager
    def step(self, name: str, attributes: Attributes, *, failure: Failure | None = None) -> Iterator[None]:
        """Something of the application's own, which no GenAI convention describes."""
        with self._child(name, attributes, failure=failure):
            yield

    @contextmanager
    def delegate(self, agent: Agent, task: str) -> Iterator[Conversation]:
        """Another agent works on a task, below this one."""
        with converse(
            self.tracer,
            agent,
            task,
            self.rng,
            self.case,
            self.clock,
            session=self.session,
            user=self.user,
            parent=self.span,
        ) as other:
            yield other
        self.messages.append(Message("user", f"{agent.name}: {other.answer}"))

    @property
    def answer(self) -> str:
        """What was said last by the model."""
        return next((message.text for message in reversed(self.messages) if message.role == "assistant"), "")

    def fail(self, failure: Failure) -> None:
        """The agent itself ends in an error."""
        _record(self.span, failure, self.clock.now_ns)

    @contextmanager
    def _child(
        self, name: str, attributes: Attributes, *, kind: SpanKind = SpanKind.INTERNAL, failure: Failure | None = None
    ) -> Iterator[Span]:
        self.clock.spend(self.rng.uniform(0.001, 0.012))
        span = _start(self.tracer, name, attributes, kind, self.span, self.clock.now_ns)
        yield span
        if failure:
            _record(span, failure, self.clock.now_ns)
        span.end(self.clock.now_ns)


@contextmanager
def converse(
    tracer: Tracer,
    agent: Agent,
    text: str,
    rng: random.Random,
    case: random.Random,
    clock: Clock,
    *,
    session: str,
    user: str,
    parent: Span | None = None,
) -> Iterator[Conversation]:
    """An agent is asked something: its span starts, and ends with what it said last."""
    convention = agent.convention
    attributes = convention.agent(agent.name, agent.model, agent.provider, text, session, user)
    span = _start(tracer, convention.agent_name(agent.name), attributes, SpanKind.INTERNAL, parent, clock.now_ns)
    conversation = Conversation(tracer, agent, rng, case, clock, span, session, user, [Message("user", text)])
    yield conversation
    clock.spend(rng.uniform(0.002, 0.02))
    span.set_attributes(
        convention.agent_end(conversation.answer, conversation.input_tokens, conversation.output_tokens)
    )
    span.end(clock.now_ns)


def _start(tracer: Tracer, name: str, attributes: Attributes, kind: SpanKind, parent: Span | None, now_ns: int) -> Span:
    context = set_span_in_context(parent, Context()) if parent else Context()
    span = tracer.start_span(name, context, kind=kind, attributes=attributes, start_time=now_ns)
    assert isinstance(span, Span), "the demo's own tracer provider always samples"
    return span


def _record(span: Span, failure: Failure, now_ns: int) -> None:
    event = {
        "exception.type": failure.kind,
        "exception.message": failure.message,
        "exception.stacktrace": failure.stacktrace,
    }
    span.add_event("exception", event, timestamp=now_ns)
    span.set_attribute("error.type", failure.kind)
    span.set_status(Status(StatusCode.ERROR, f"{failure.kind}: {failure.message}"))
