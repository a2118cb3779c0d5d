"""The protocol of an interpreter for model-written code. Every implementation passes the conformance and
attack suites in tests/worker/rlm/interpreter/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

HostFunction = Callable[..., Awaitable[Any]]
Failure = Literal["syntax", "raised", "time", "memory", "host_calls"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one execution; `memory_bytes` of the session."""

    seconds: float = 30.0
    memory_bytes: int = 256 * 2**20
    host_calls: int = 10_000
    output_bytes: int = 16_000


@dataclass(frozen=True, slots=True)
class Executed:
    """What one execution printed and how it ended. `value` is the last expression's repr, if there is one.

    `failure` None: it ran to its end. Time spent waiting for host functions does not count against `seconds`.
    """

    stdout: str = ""
    value: str | None = None
    failure: Failure | None = None
    message: str = ""  # for the model: the error with its line, and which variables were lost
    variables_lost: bool = False  # the session had to be opened anew
    output_left_out: int = 0  # bytes of stdout beyond the limit


class Interpreter(Protocol):
    """A session whose variables persist between executions."""

    subset: str  # a description of the Python it runs, for the prompt

    async def execute(self, code: str) -> Executed:
        """Run code. Whatever the code does ends in an Executed; raises InterpreterGone when there is no interpreter."""
        ...

    def snapshot(self) -> bytes | None:
        """Return the variables, to be restored by `restore`; None when they cannot be kept."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Bring the variables of a snapshot back."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class OpenInterpreter(Protocol):
    """How the engine opens one interpreter an agent."""

    async def __call__(self, functions: Mapping[str, HostFunction], limits: Limits) -> Interpreter:
        """Open a session in which the host functions can be called by name, plainly and without await."""
        ...
