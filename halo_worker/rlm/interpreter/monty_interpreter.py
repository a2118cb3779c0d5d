"""The one implementation of Interpreter: pydantic-monty, a Python subset in a worker process of its own.

It has no files, no network, no environment and no processes; memory, time, host calls and output are bounded. What was
there before an execution that had to be killed is brought back from the dump taken after the one before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from halo_worker.errors import InterpreterGone
from halo_worker.rlm.interpreter.code_rewriting import rewrite
from halo_worker.rlm.interpreter.protocol import Executed, Failure, HostFunction, Interpreter, Limits

SUBSET = (
    "Python, of which this works: functions, lambdas, comprehensions, classes without inheritance, f-strings, "
    "try/except, with, unpacking, match, sorting; modules math, re (linear time), json, collections, itertools, "
    "functools, datetime, dataclasses, typing, random, csv, hashlib, base64, bisect, decimal, copy, time, asyncio. "
    "There is no import of anything else (no statistics, heapq, string, io, enum, numpy), no class inheritance, "
    "no yield, no methods as values (lambda s: s.lower() instead of str.lower), no files and no network. Call host "
    "functions directly, not inside map(), filter() or a sort key."
)

DUMP_BYTES = 64 * 2**20  # of variables that are kept for a restart or a resume; larger ones are not
LATE_CALLS = 100  # host calls answered with an error after the last allowed one, before the session is ended
GRACE_SECONDS = 2.0  # for the worker to end by itself at its time limit, before it is killed
# After the last session, before the process may exit: a thread of the library that still lets go of its Python objects
# while the interpreter shuts down aborts the process (14 of 25 exits without this, none of 40 with 1 ms;
# PyO3/pyo3-async-runtimes#40).
SETTLE_SECONDS = 0.02
VALUE_BYTES = 4_000  # of the repr of the last expression

_ALL_LOST = "All variables are lost: a new session was opened."
_ROLLED_BACK = "Variables are as they were before this code."
_UNSAVED = "MemoryError: the code ran, but its variables are too large to keep. Keep results, not inputs."


class OpenMonty:
    """OpenInterpreter: each session has a worker process of its own."""

    subset = SUBSET

    async def __call__(self, functions: Mapping[str, HostFunction], limits: Limits) -> Interpreter:
        """Open a session; the process starts with the first execution (about 10 ms)."""
        return MontyInterpreter(functions, limits)


class MontyInterpreter:
    """A session. Variables persist between executions; see Interpreter."""

    subset = SUBSET

    def __init__(self, functions: Mapping[str, HostFunction], limits: Limits) -> None:
        self._functions = dict(functions)
        self._limits = limits
        self._pool: Any = None
        self._session: Any = None
        self._saved: bytes | None = None  # the variables after the last execution that ended well
        self._lost = False  # whether they could not be restored, and no result has said so yet
        self._lock = asyncio.Lock()

    async def execute(self, code: str) -> Executed:
        """Run code; see Interpreter.execute."""
        async with self._lock:
            try:
                return await self._execute(code, _Output(self._limits.output_bytes))
            except (asyncio.CancelledError, InterpreterGone):
                await self._end()
                raise

    async def _execute(self, code: str, output: _Output) -> Executed:
        try:
            await self._open()
        except Exception as error:
            raise InterpreterGone(
                f"the code interpreter does not start: {error}", hint="is pydantic-monty's binary installed?"
            ) from error
        executed, usable = await self._run(code, output)
        if usable and not await self._save():
            executed = replace(self._ended(output, "memory", _UNSAVED, lost=True), value=executed.value)
            usable = False
        if not usable:
            await self._end()
        return self._with_loss(executed)

    def snapshot(self) -> bytes | None:
        """Return the variables as they were after the last execution that ended well."""
        return self._saved

    def restore(self, snapshot: bytes) -> None:
        """Bring the variables of a snapshot back, when the next execution opens its session."""
        self._saved = snapshot

    async def close(self) -> None:
        """End the session and its process."""
        async with self._lock:
            await self._end()
            await asyncio.sleep(SETTLE_SECONDS)

    async def _open(self) -> None:
        if self._session is not None:
            return
        from pydantic_monty import AsyncMonty

        self._pool = AsyncMonty(min_processes=1, max_processes=1, feed_duration_limit_grace=GRACE_SECONDS)
        await self._pool.__aenter__()
        session = self._pool.checkout(
            limits={
                "max_feed_duration_secs": self._limits.seconds,
                "max_memory": self._limits.memory_bytes,
                "max_suspensions": 2**31,  # counted here, for each execution
                "max_total_sleep_secs": 0.0,
            },
            os_policy={"sleep": "zero"},
        )
        await session.__aenter__()
        self._session = session
        if self._saved is not None:
            try:
                await session.load_session(self._saved)
            except Exception:  # noqa: BLE001  of another version, damaged, or too large: the session goes on without
                self._saved = None
                self._lost = True
                await self._end()
                await self._open()

    async def _end(self) -> None:
        session, pool, self._session, self._pool = self._session, self._pool, None, None
        for manager in (session, pool):
            if manager is not None:
                with suppress(Exception):
                    await manager.__aexit__(None, None, None)

    async def _save(self) -> bool:
        """Keep the variables; return whether the session outlived it, for a dump needs memory of the worker's own."""
        try:
            dump = await self._session.dump()
        except Exception:  # noqa: BLE001  a session that cannot be dumped goes on without
            if self._session.worker_pid is None:
                return False
            dump = None
        self._saved = dump if dump is not None and len(dump) <= DUMP_BYTES else None
        return True

    async def _run(self, code: str, output: _Output) -> tuple[Executed, bool]:
        """Run code to its end; return the outcome, and whether the session can go on."""
        from pydantic_monty import MontyComplete, MontyCrashedError, MontyError, MontySyntaxError

        calls = _Calls(self._functions, self._limits.host_calls)
        try:
            at = await self._session.feed_start(rewrite(code), print_callback=output)
            while not isinstance(at, MontyComplete):
                if calls.made > self._limits.host_calls + LATE_CALLS:
                    message = f"more than {self._limits.host_calls:,} host calls"
                    return self._ended(output, "host_calls", message, lost=True), False
                at = await _step(at, calls)
        except MontySyntaxError as error:
            return self._ended(output, "syntax", error.display()), True
        except MontyCrashedError as error:
            failure: Failure = "time" if error.timed_out else "memory"
            return self._ended(output, failure, f"the interpreter's process ended: {error}", lost=True), False
        except MontyError as error:
            inner = error.exception()
            message = error.display() if hasattr(error, "display") else str(error)
            if isinstance(inner, MemoryError):
                return self._ended(output, "memory", _memory(self._limits), lost=True), False
            if isinstance(inner, TimeoutError) and "time limit" in str(inner):
                return self._ended(output, "time", _time(self._limits), lost=True), False
            over = calls.made > self._limits.host_calls
            return self._ended(output, "host_calls" if over else "raised", message + _advice(message)), True
        except Exception as error:  # noqa: BLE001  a value that cannot be passed, or a session that has ended
            return self._ended(output, "raised", f"{type(error).__name__}: {error}", lost=True), False
        return Executed(output.text, _value(at.output), output_left_out=output.left_out), True

    def _ended(self, output: _Output, failure: Failure, message: str, *, lost: bool = False) -> Executed:
        if lost:
            message += f"\n{_ALL_LOST if self._saved is None else _ROLLED_BACK}"
        return Executed(
            output.text,
            failure=failure,
            message=message,
            variables_lost=lost and self._saved is None,
            output_left_out=output.left_out,
        )

    def _with_loss(self, executed: Executed) -> Executed:
        """Report lost variables with the first execution after the loss."""
        if self._lost and not executed.variables_lost:
            executed = replace(executed, message=f"{_ALL_LOST}\n{executed.message}".strip(), variables_lost=True)
        self._lost = False
        return executed


class _Output:
    """What was printed, up to a limit in bytes; the rest is counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[str] = []
        self._size = 0
        self.left_out = 0

    def __call__(self, _: str, text: str) -> None:
        raw = text.encode("utf-8", "replace")
        kept = raw[: self._limit - self._size].decode("utf-8", "ignore")
        size = len(kept.encode())
        self._kept.append(kept)
        self._size += size
        self.left_out += len(raw) - size

    @property
    def text(self) -> str:
        """What was kept."""
        return "".join(self._kept)


class _Calls:
    """HostFunctions calls of one execution."""

    def __init__(self, functions: Mapping[str, HostFunction], limit: int) -> None:
        self.functions = functions
        self._limit = limit
        self.made = 0

    async def answer(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Call a host function; what it raises is raised in the code, as RuntimeError with its message."""
        self.made += 1
        if self.made > self._limit:
            return {"exc_type": "RuntimeError", "message": f"more than {self._limit:,} host calls in one execution"}
        if name not in self.functions:
            return {"exc_type": "NameError", "message": f"name {name!r} is not defined"}
        try:
            return {"return_value": await self.functions[name](*args, **kwargs)}
        except Exception as error:  # noqa: BLE001  whatever the host raises, the code may catch it
            kind = "TypeError" if isinstance(error, TypeError) else "RuntimeError"
            return {"exc_type": kind, "message": str(error) or type(error).__name__}


async def _step(at: Any, calls: _Calls) -> Any:
    """Answer what the code waits for: a name, a host call, or the operating system, of which there is none."""
    from pydantic_monty import AsyncFunctionSnapshot, AsyncNameLookupSnapshot

    if isinstance(at, AsyncNameLookupSnapshot):
        function = calls.functions.get(at.variable_name)
        return await (at.resume() if function is None else at.resume(value=function))
    if isinstance(at, AsyncFunctionSnapshot):
        if at.is_os_function:
            calls.made += 1
            return await at.resume_not_handled()
        result: Any = await calls.answer(str(at.function_name), at.args, at.kwargs)
        if not at.allow_eager_await:
            return await at.resume(result)
        # The code awaits the call: give it a future that is already settled.
        waiting: Any = await at.resume({"future": ...})
        return await waiting.resume(dict.fromkeys(waiting.pending_call_ids, result))
    return await at.resume(
        {call: {"exc_type": "RuntimeError", "message": "not available"} for call in at.pending_call_ids}
    )


def _value(output: Any) -> str | None:
    """The repr of the last expression, in bounds."""
    if output is None:
        return None
    try:
        text = repr(output)
    except RecursionError:
        return "<nested too deeply to show>"
    return text if len(text) <= VALUE_BYTES else f"{text[:VALUE_BYTES]}… [{len(text):,} characters]"


def _memory(limits: Limits) -> str:
    return f"MemoryError: more than {limits.memory_bytes // 2**20} MiB. Work on parts, and keep results, not inputs."


def _time(limits: Limits) -> str:
    return f"TimeoutError: it ran longer than {limits.seconds:g} s. Let query_sql or a tool do the heavy part."


def _advice(message: str) -> str:
    """One line about the traps of the subset."""
    if "can't be awaited" in message or "awaitable is required" in message:
        return "\nHost functions return their value at once: call them without await, and llm_query_batched for many."
    if "object has no attribute" in message or "type object" in message:
        return "\nMethods can be called here, but are no values: write lambda s: s.lower() where you pass str.lower."
    if "is not an iterator" in message:
        return "\nGenerators are lists here: use iter(…) before next(), or [0]."
    if "cannot suspend in this synchronous context" in message:
        return "\nCall host functions in a plain loop or comprehension, not inside map(), filter() or a sort key."
    if "No module named" in message:
        return f"\nThis interpreter runs: {SUBSET}"
    return ""
