"""One bounded child process: its output streamed, its time, memory and bytes limited, killed with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20.0
CPU_SECONDS = 30
VIRTUAL_KIB = 4 * 2**20  # git maps its packs into memory, so this is far above what it uses
STDERR_BYTES = 4096
DRAIN_SECONDS = 2.0  # for what is left in the pipe after the end
CHUNK = 64 * 1024

# The limits are set in the child, before the program takes its place; where the system has none, time still is.
_LIMITED = f'ulimit -t {CPU_SECONDS} 2>/dev/null; ulimit -v {VIRTUAL_KIB} 2>/dev/null; ulimit -c 0; exec "$@"'


@dataclass(frozen=True, slots=True)
class Output:
    """What a process wrote, up to the limit. `cut`: there was more, and the process was ended."""

    stdout: bytes
    stderr: str
    code: int
    cut: bool = False
    timed_out: bool = False


async def run(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], max_bytes: int, seconds: float = SECONDS
) -> Output:
    """Run a program without a shell's meaning of its arguments, and read at most `max_bytes` of what it writes."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _LIMITED, "sh", *argv,
            cwd=cwd, env=dict(env), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )
    )  # fmt: skip
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:  # it starts all the same, and with it whatever it starts
        _kill(await starting)
        raise
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(_drain(process.stderr))
    stdout, cut, timed_out = bytearray(), False, False
    try:
        async with asyncio.timeout(seconds):
            while chunk := await process.stdout.read(CHUNK):
                stdout += chunk
                if len(stdout) > max_bytes:
                    cut = True
                    break
            if not cut:
                await process.wait()
    except TimeoutError:
        timed_out = True
    finally:  # also when the caller is cancelled
        _kill(process)
        await process.wait()
        rest = asyncio.create_task(process.stdout.read())  # a transport must not outlive its loop
        await asyncio.wait([complaints, rest], timeout=DRAIN_SECONDS)
        complaints.cancel()
        rest.cancel()
    stderr = complaints.result() if complaints.done() and not complaints.cancelled() else ""
    return Output(bytes(stdout[:max_bytes]), stderr, process.returncode or 0, cut, timed_out)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _drain(stream: asyncio.StreamReader) -> str:
    """Read all, so that the process never waits for a full pipe, and keep the beginning."""
    kept = bytearray()
    while chunk := await stream.read(CHUNK):
        kept += chunk[: max(0, STDERR_BYTES - len(kept))]
    return kept.decode("utf-8", "replace").strip()
