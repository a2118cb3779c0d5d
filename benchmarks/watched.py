"""A child process, watched: wall time, and the peak of the memory of it and all it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05  # seconds between two looks at the memory, which cost a sixth of a core; see `every`


@dataclass(slots=True)
class Watched:
    """What one run took. `peak_bytes` adds up all its processes, a shared page once."""

    code: int
    seconds: float
    started: float  # of time.monotonic
    peak_bytes: int
    output: str
    series: list[tuple[float, int]]  # (time.monotonic, bytes of all)
    cpu_seconds: float  # of all, which load on the machine does not change

    def peak_after(self, moment: float) -> int:
        """The peak from some moment on."""
        return max((size for at, size in self.series if at >= moment), default=0)


def run(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float = 900, every: float = INTERVAL
) -> Watched:
    """Run it to its end, at most `seconds` long, and look at its memory each `every` seconds."""
    before = _cpu()
    started = time.monotonic()
    process = subprocess.Popen(
        argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    series: list[tuple[float, int]] = []

    def watch() -> None:
        while process.poll() is None:
            series.append((time.monotonic(), _tree_bytes(process.pid)))
            time.sleep(every)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
    ended = time.monotonic()
    watcher.join()
    peak = max((size for _, size in series), default=0)
    return Watched(process.returncode, ended - started, started, peak, output, series, _cpu() - before)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree_bytes(root: int) -> int:
    """Add up the proportional set sizes: a page that two processes share counts half for each."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError, IndexError):
            continue
    return total
