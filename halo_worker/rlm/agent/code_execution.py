"""The run_code tool of one agent: its interpreter, opened when it is first needed, one execution at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from halo_worker.errors import InterpreterGone
from halo_worker.rlm.agent.host_functions import HostFunctions
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.interpreter.protocol import Executed, Interpreter
from halo_worker.rlm.tool import Tool, ToolError

STDERR_CHARACTERS = 6_000  # of an error, its end


@dataclass(slots=True, eq=False)
class CodeExecution:
    """Runs the code of one agent. `snapshot`: the variables to begin with."""

    context: RunContext
    host: HostFunctions
    tools: Mapping[str, Tool]
    snapshot: bytes | None = None
    _interpreter: Interpreter | None = None
    _running: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, code: str, call_id: str | None) -> dict[str, Any]:
        """Run code and return what it printed, its last value, and its error. Raises ToolError, Denied."""
        async with self._running:
            if self._interpreter is None:
                self._interpreter = await self.context.open_interpreter(
                    self.host.functions(self.tools), self.context.code_limits
                )
                if self.snapshot is not None:
                    self._interpreter.restore(self.snapshot)
            self.host.call_id = call_id
            try:
                return _as_data(await self.context.client.within(self._interpreter.execute(code)))
            except InterpreterGone as error:
                raise ToolError(f"{error}. Use the other tools.") from error

    def variables(self) -> bytes | None:
        """Return the interpreter's variables as they are now; None when they cannot be kept."""
        return self.snapshot if self._interpreter is None else self._interpreter.snapshot()

    async def close(self) -> None:
        """End the interpreter."""
        if self._interpreter is not None:
            await self._interpreter.close()


def _as_data(executed: Executed) -> dict[str, Any]:
    out = executed.stdout
    if executed.output_left_out:
        out += f"\n… [{executed.output_left_out:,} more bytes were printed and are left out: print less]"
    data: dict[str, Any] = {"exit_code": 0 if executed.failure is None else 1, "stdout": out}
    if executed.value is not None:
        data["value"] = executed.value
    if executed.message:
        data["stderr"] = executed.message[-STDERR_CHARACTERS:]
    if executed.failure is not None:
        data |= {"failure": executed.failure, "timed_out": executed.failure == "time"}
    return data
