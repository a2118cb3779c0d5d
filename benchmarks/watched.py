"""A child process, watched: wall time, and the peak of the memory of it and all it starts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Watched:
    """What one run took. `peak_bytes` adds up the resident memory of all its processes (shared pages each time)."""

    code: int
    seconds: float
    started: float  # of time.monotonic
    peak_bytes: int
    output: str


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float = 900) -> Watched:
    """Run it to its end, at most `seconds` long."""
    started = time.monotonic()
    process = subprocess.Popen(
        argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, _tree_bytes(process.pid))
            time.sleep(INTERVAL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
    ended = time.monotonic()
    watcher.join()
    return Watched(process.returncode, ended - started, started, peak, output)


def _tree_bytes(root: int) -> int:
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue
    return total
