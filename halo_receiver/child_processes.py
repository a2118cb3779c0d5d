"""The one way a child process is started: on no module of a stranger, with an environment and a name of its own.

`python -m` looks for modules in the current directory first: a `queue.py` or `duckdb.py` that lies where someone starts
halo would run. Children are started with `-P` and PYTHONSAFEPATH, run the same halo as their parent, and end with it.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from halo_receiver import bootstrap

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

# What a process needs of the system, for those that work on what a stranger wrote.
_SYSTEM = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "TZ")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SETTING = "HALO_"
_LAKE = re.compile(r"AWS_|PG|HALO_LAKE_CATALOG$")  # keys of the object storage, and what libpq reads


def environment(*, settings: bool = False, bare: bool = False, lake: bool = False) -> dict[str, str]:
    """Return what a child sees: neither secrets nor halo's settings, which reach most children as arguments.

    `settings` keeps HALO_* and `lake` what opens the lake, both for a receiver; `bare` leaves only what the system
    needs.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if (settings if name.startswith(_SETTING) else name in _SYSTEM or not (bare or _SECRET.search(name)))
    }
    if settings or lake:
        kept |= {name: value for name, value in os.environ.items() if _LAKE.match(name)}
    if "PYTHONPATH" in kept:  # an empty entry is the current directory
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, kept["PYTHONPATH"].split(os.pathsep)))
    if settings:  # grpc's own lines are about what strangers send, who could fill the log with them
        kept.setdefault("GRPC_VERBOSITY", "NONE")
    return kept | {"PYTHONSAFEPATH": "1"}


def command(name: str, module: str, *arguments: str, ends_by: int = signal.SIGKILL) -> list[str]:
    """Return the words that run a module of ours as a child of this process; `ends_by` is sent when we end."""
    return _words(os.getpid(), _sendable(ends_by), name, module, *arguments)


def _words(parent: int, number: int, name: str, module: str, *arguments: str) -> list[str]:
    first = str(Path(bootstrap.__file__).absolute())
    return [sys.executable, "-P", first, name, str(parent), str(int(number)), module, *arguments]


def _sendable(number: int) -> int:
    """The kernel takes the end of the thread that starts a child for the end of the parent: only the main one stays."""
    return number if threading.current_thread() is threading.main_thread() else 0


def start(
    name: str,
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    ends_by: int = signal.SIGKILL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a child; `options` are subprocess.Popen's."""
    words = command(name, module, *arguments, ends_by=ends_by)
    return subprocess.Popen(words, env=dict(environment() if env is None else env), **options)  # noqa: S603


async def start_async(
    name: str, module: str, *arguments: str, env: Mapping[str, str] | None = None, **options: Any
) -> asyncio.subprocess.Process:
    """Start a child of the event loop; `options` are asyncio.create_subprocess_exec's."""
    words = command(name, module, *arguments)
    return await asyncio.create_subprocess_exec(*words, env=dict(environment() if env is None else env), **options)


def become(name: str, module: str, *arguments: str) -> NoReturn:
    """Go on as a module of ours in this same process, which nobody ends but who started it."""
    words = _words(0, 0, name, module, *arguments)
    os.execve(sys.executable, words, environment(settings=True))  # noqa: S606 - our own words


def pool(name: str, workers: int) -> ProcessPoolExecutor:
    """Return an executor whose processes are spawned as safely; they inherit this process's whole environment."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    os.environ["PYTHONSAFEPATH"] = "1"  # the only way to tell them: multiprocessing writes their command line
    ends_by = _sendable(signal.SIGKILL)
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=bootstrap.begin_pool,
        initargs=(name, os.getpid(), ends_by),
    )


def end(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once, whatever they do."""
    for process in list((pool._processes or {}).values()):  # of their own accord they end when their work is done
        process.kill()
    pool.shutdown(cancel_futures=True)
