"""Runs an agent on a case and records its spans, with the OpenTelemetry SDK in memory. Used by written tests."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from halo_worker import telemetry
from halo_worker.errors import HaloError, InputError

Agent = Callable[[Mapping[str, Any]], Any]

AGENT = "HALO_AGENT"  # module:function
SECONDS = "HALO_CASE_SECONDS"
DEFAULT_SECONDS = 120.0
SETTLE_SECONDS = 0.2  # for spans that end just after the agent has answered


class AgentFailed(HaloError):  # noqa: N818
    """The agent did not answer in time, or left no spans."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the agent answered, and its spans as one OTLP message."""

    answer: Any
    spans: bytes


def named_agent() -> Agent:
    """Return the function that HALO_AGENT names as module:function. Raises InputError where it names none."""
    module, _, name = os.environ.get(AGENT, "").partition(":")
    if not module or not name:
        raise InputError(
            f"{AGENT} names no agent",
            hint=f"{AGENT}=module:function, or return your agent from the fixture in conftest.py",
        )
    try:
        found: Agent = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{AGENT}={module}:{name} cannot be imported: {error}") from None
    return found


def record(agent: Agent, given: Mapping[str, Any], *, seconds: float | None = None) -> Recorded:
    """Call the agent with a case's input and return its answer and spans. A coroutine is awaited.

    What the agent raises is raised. Raises AgentFailed when it does not answer within `seconds` (default: what
    HALO_CASE_SECONDS says, else 120), or when no span of it was recorded.
    """
    limit = seconds if seconds is not None else float(os.environ.get(SECONDS) or DEFAULT_SECONDS)
    exporter, begun = _exporter(), time.time_ns()
    exporter.clear()
    answer, error = _within(limit, agent, given)
    if error is not None:
        raise error
    spans = _since(exporter, begun)
    if not spans:
        raise AgentFailed(
            "the agent recorded no spans, so the rule has nothing to look at",
            hint="instrument it in the test as in production, with OpenTelemetry's global tracer provider",
        )
    return Recorded(answer, telemetry.encoded(spans))


@cache
def _exporter() -> InMemorySpanExporter:
    """Listen to the global tracer provider, once a process; set one where there is none."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def _within(seconds: float, agent: Agent, given: Mapping[str, Any]) -> tuple[Any, BaseException | None]:
    """Call the agent in a thread: one that never ends is left behind, and ends with the process."""
    done: list[tuple[Any, BaseException | None]] = []

    def call() -> None:
        try:
            answer = agent(given)
            done.append((asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer, None))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            done.append((None, error))

    thread = threading.Thread(target=call, name="agent", daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise AgentFailed(
            f"the agent did not answer within {seconds:g} s",
            hint=f"{SECONDS} sets another limit; an endless agent is a failure",
        )
    return done[0]


async def _awaited(answer: Any) -> Any:
    return await answer


def _since(exporter: InMemorySpanExporter, begun_ns: int) -> list[ReadableSpan]:
    """Return the spans of traces that began with this case: one that was left behind may still send some of its own."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not exporter.get_finished_spans() and time.monotonic() < deadline:
        time.sleep(0.01)
    spans = exporter.get_finished_spans()
    old = {span.context.trace_id for span in spans if span.context and (span.start_time or 0) < begun_ns}
    return [span for span in spans if span.context and span.context.trace_id not in old]
