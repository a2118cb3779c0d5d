"""The six functions of the published HALO engine. One of them works; the others collect it, filter it or drive it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar

from halo_worker import run, window_reader
from halo_worker.analysis import analyst, detectors
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.repository import repository_tools
from halo_worker.analysis.work import Work
from halo_worker.api.settings import TracePaths, settings_of, sources
from halo_worker.api.types import (
    AgentMessage,
    AgentOutputItem,
    EngineConfig,
    EngineOutput,
    RunCheckpoint,
    output_of,
)
from halo_worker.errors import ModelError
from halo_worker.report.archive import new_run_id
from halo_worker.request import Request
from halo_worker.rlm.agent.session import Event
from halo_worker.rlm.messages import Message
from halo_worker.window import Window

ROOT_ID = "root"
_T = TypeVar("_T")


async def stream_engine_async(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> AsyncGenerator[EngineOutput, None]:
    """Yield what happens, as it happens: messages of all agents and pieces of text; the last item is the answer.

    A leading system message takes the place of ours, word for word. Raises ConfigError, InputError or ValueError before
    a model is asked. A run whose budget ends says in its answer what was not looked at; one whose model could not be
    asked to the end raises ModelError, after all that was said. Leaving early ends the run.
    """
    files, data_dir = sources(trace_paths)
    current = settings_of(engine_config, data_dir=data_dir)
    if current.analysis.repo_path is not None:
        repository_tools(current.analysis.repo_path)  # before the traces are read, which may take long
    now_ns = time.time_ns()
    request = Request(window=None if files else Window(0, now_ns + 1), paths=files)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="halo-run-")))
        opened = await _entered(stack, window_reader.opened(current, request, now_ns))
        reader, window = opened.reader, opened.window
        found = await asyncio.to_thread(detectors.run_detectors, reader, prepare=opened.prepare)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        prompt, conversation = _question(messages)
        work = Work(
            prompt=prompt, messages=conversation, model=current.model, budget=current.budget,
            analysis=current.analysis, window=window, work_dir=folder, cache_dir=None, threads=current.store.threads,
            sample=opened.sample, emit=queue.put_nowait,
        )  # fmt: skip
        task = asyncio.create_task(analyst.work_window(reader, found, work))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        last, answered = 0, False
        said: list[AgentMessage] = list(messages)
        try:
            while (event := await queue.get()) is not None:
                output = output_of(event)
                last, answered = event.sequence, answered or event.final
                if isinstance(output, AgentOutputItem) and event.agent_id == ROOT_ID:
                    said.append(output.item)
                yield output
            draft = await task
        finally:
            task.cancel()
            await asyncio.wait({task})
            if telemetry:
                run_id = new_run_id(now_ns)
                await asyncio.to_thread(run.tell, current, run_id, folder / "trajectory.jsonl", now_ns, _silent)
        if not answered:
            last += 1
            yield _salvaged(draft, last, engine_config)
        if engine_config.emit_run_checkpoints:
            yield RunCheckpoint(sequence=last + 1, agent_id=ROOT_ID, turns_used=draft.engine.turns, messages=said)


async def _entered(stack: contextlib.AsyncExitStack, manager: contextlib.AbstractContextManager[_T]) -> _T:
    """Enter a manager that may take long in a thread, and leave it when the stack is left."""
    value = await asyncio.to_thread(manager.__enter__)
    stack.push(manager)
    return value


def _question(messages: Sequence[AgentMessage]) -> tuple[str | None, tuple[Message, ...]]:
    """Return (question, conversation): a lone question is put with what is known, all else goes as it is."""
    plain = tuple(message.to_message() for message in messages)
    if not plain:
        return None, ()
    if len(plain) == 1 and plain[0].role == "user":
        return plain[0].content or "", ()
    return next((message.content for message in reversed(plain) if message.role == "user"), None), plain


def _salvaged(draft: Draft, sequence: int, config: EngineConfig) -> AgentOutputItem:
    """The answer of a run that gave none: what was said, and what was not looked at. Raises ModelError instead."""
    notes = "\n".join(f"- {note}" for note in draft.not_examined)
    if draft.stopped_by == "error":
        raise ModelError("; ".join(draft.not_examined) or "the model could not be asked")
    text = f"{draft.answer or 'No answer was reached.'}\n\nNot looked at:\n{notes or '- nothing is known of'}"
    return AgentOutputItem(
        sequence=sequence, agent_id=ROOT_ID, parent_agent_id=None, parent_tool_call_id=None,
        agent_name=config.root_agent.name, depth=0, item=AgentMessage(role="assistant", content=text), final=True,
    )  # fmt: skip


async def stream_engine_output_async(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> AsyncGenerator[AgentOutputItem, None]:
    """Yield the messages alone, without pieces of text."""
    async with contextlib.aclosing(
        stream_engine_async(messages, engine_config, trace_paths, telemetry=telemetry)
    ) as outputs:
        async for output in outputs:
            if isinstance(output, AgentOutputItem):
                yield output


async def run_engine_async(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> list[AgentOutputItem]:
    """Run to the end and return all messages."""
    outputs = stream_engine_output_async(messages, engine_config, trace_paths, telemetry=telemetry)
    return [output async for output in outputs]


def stream_engine(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> Generator[EngineOutput, None, None]:
    """Yield what `stream_engine_async` yields. The run goes on while the next one is waited for, and only then."""
    return _driven(lambda: stream_engine_async(messages, engine_config, trace_paths, telemetry=telemetry))


def stream_engine_output(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> Generator[AgentOutputItem, None, None]:
    """Yield what `stream_engine_output_async` yields."""
    return _driven(lambda: stream_engine_output_async(messages, engine_config, trace_paths, telemetry=telemetry))


def run_engine(
    messages: Sequence[AgentMessage], engine_config: EngineConfig, trace_paths: TracePaths, *, telemetry: bool = False
) -> list[AgentOutputItem]:
    """Run to the end and return all messages."""
    return asyncio.run(run_engine_async(messages, engine_config, trace_paths, telemetry=telemetry))


def _driven(make: Callable[[], AsyncGenerator[_T, None]]) -> Generator[_T, None, None]:
    """Drive an asynchronous generator on a loop of its own, step by step, and close it however this one is left."""
    with asyncio.Runner() as runner:
        outputs = make()

        async def step() -> _T | None:
            return await anext(outputs, None)

        try:
            while (output := runner.run(step())) is not None:
                yield output
        finally:
            runner.run(outputs.aclose())


def _silent(_: str) -> None:
    return None
