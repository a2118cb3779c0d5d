"""A function that a model may call, by a tool call or by name from the code it writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from halo_worker.rlm.messages import ToolSpec

MODEL_BYTES = 24_000  # of one result that enters a model's context
CODE_BYTES = 4 * 2**20  # of one result that becomes a variable of the interpreter


class ToolError(Exception):
    """The call was wrong or could not be answered; the text says what to do instead. Never ends a run."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A name, a contract and a function.

    `call` takes validated arguments and `max_bytes`, and returns a JSON value (dict, list, str, numbers, None) whose
    JSON text has at most that many bytes and which says what was left out, and how to see it. It never blocks the
    event loop. Raises ToolError.
    """

    spec: ToolSpec
    call: Callable[[dict[str, Any], int], Awaitable[Any]]

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.spec.name


def json_value(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists, times and the rest as text. Raises ToolError."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"the value is not JSON: {error}") from None
