"""trajectory.jsonl: what happened in a run, one JSON object a line, in order; written as it happens.

Every line has `kind`, `at_unix_nano` and `elapsed` (seconds of the run). Kinds: `agent` (one began), `asked` (an
attempt at a model begins), `model` (it ended: usage, cost, reply or fault), `tool` (one call and its result), `note`
(elision, nudge, repair), `end`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from halo_worker.rlm.messages import Usage
from halo_worker.rlm.truncation import truncate

NAME = "trajectory.jsonl"
TEXT_BYTES = 16_000  # of one text in the record; what is longer is truncated and says so
_COUNTED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


class Trajectory:
    """The record of one run. Each line is handed to the operating system at once, so that kill -9 loses none."""

    def __init__(self, path: Path, elapsed: Callable[[], float]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._elapsed = elapsed
        self._file: BinaryIO = path.open("ab", buffering=0)
        if path.stat().st_size and not _ends_with_newline(path):
            self._file.write(b"\n")  # after a line that a kill truncated

    def write(self, kind: str, **fields: Any) -> None:
        """Add one line."""
        line = {"kind": kind, "at_unix_nano": time.time_ns(), "elapsed": round(self._elapsed(), 3)}
        line |= {name: _truncated(value) for name, value in fields.items() if value is not None}
        self._file.write(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def spent(path: Path) -> tuple[Usage, int, float]:
    """Add up the usage, the attempts and the seconds that a record holds.

    An attempt that began and never ended, because the process was killed, counts with the input it sent. Truncated
    lines, and values of another type, are skipped.
    """
    totals = dict.fromkeys(_COUNTED, 0)
    cost: float | None = None
    begun: dict[str, int] = {}
    calls, seconds = 0, 0.0
    if not path.exists():
        return Usage(), 0, 0.0
    with path.open("rb") as lines:
        for line in lines:
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(record, dict):
                continue
            kind, call = record.get("kind"), str(record.get("call"))
            seconds = max(seconds, _number(record, "elapsed"))
            if kind == "asked":
                calls += 1
                begun[call] = int(_number(record, "input_tokens"))
            if kind == "model":
                begun.pop(call, None)
                for name in _COUNTED:
                    totals[name] += int(_number(record, name))
                if record.get("cost_usd") is not None:
                    cost = (cost or 0.0) + _number(record, "cost_usd")
    totals["input_tokens"] += sum(begun.values())
    return Usage(**totals, cost_usd=cost), calls, seconds


def _number(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    return value if isinstance(value, int | float) else 0


def _truncated(value: Any) -> Any:
    """Texts within bounds and valid UTF-8, at any depth."""
    if isinstance(value, str):
        return truncate(value, TEXT_BYTES)
    return [_truncated(one) for one in value] if isinstance(value, list) else value


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
