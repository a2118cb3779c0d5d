"""The loader as a process, the server's child: commands come as JSON lines on stdin, reports go out on stdout.

A thread says every second that the process lives and how far it got, so that the server can tell a long piece of work
from a process that is stopped or stuck.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_receiver import conventions, spool
from halo_receiver.config import LakeConfig
from halo_receiver.errors import DirectoryInUse, DirectoryUnusable, HaloError
from halo_receiver.housekeeping import Housekeeping
from halo_receiver.loader import Loader
from halo_receiver.logs import set_up
from halo_receiver.store import retention
from halo_receiver.store.lock import DirectoryLock

if TYPE_CHECKING:
    from halo_receiver.publishing import Publishing

IDLE_SECONDS = 0.05  # between two looks at the spool when nothing comes
REPORT_SECONDS = 0.5
NICE = 10  # acknowledging goes before loading: what is acknowledged can wait in the spool
ALIVE_SECONDS = 1.0
LOCK_SECONDS = 30.0  # for which a start waits for the loader of a receiver that was killed
LOCK_FILE = "loader.lock"
ROOM = 2  # times [receiver] min_free_bytes, below which segments of the lake go here before their time

_report_lock = threading.Lock()


def report(message: dict[str, Any]) -> None:
    """Tell the server."""
    with _report_lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def serve(loader: Loader, housekeeping: Housekeeping) -> None:
    """Load until told to stop, or until the server is gone."""
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        at_once: dict[str, Callable[[dict[str, Any]], None]] = {
            "synced": lambda command: setattr(loader, "synced", spool.Position(*command["to"])),
            "watch": lambda command: loader.recent.watch(command["viewer"], command["recent"]),
            "unwatch": lambda _: loader.recent.unwatch(),
        }
        for line in sys.stdin:
            command = json.loads(line)
            at_once.get(command["do"], commands.put)(command)
        commands.put({"do": "stop"})

    loader.synced = spool.Position(0, 0)  # until the server says more, its newest file is left alone
    threading.Thread(target=listen, name="commands", daemon=True).start()
    threading.Thread(target=_say_alive, args=(loader,), name="alive", daemon=True).start()
    report({"ready": True, "position": loader.position})
    next_report = 0.0
    while True:
        came = loader.step()
        try:
            command = commands.get(timeout=0.001 if came else IDLE_SECONDS)
        except queue.Empty:
            command = {}
        if command.get("do") == "seal":
            _seal(loader, command)
        elif command.get("do") == "stop":
            housekeeping.close()
            loader.catch_up(spool.Position(*command["until"]) if "until" in command else loader.position)
            loader.seal()
            report({"stopped": True, "position": loader.position, "counters": loader.counters})
            return
        elif not came:
            loader.retry_aside()
        housekeeping.look()
        now = time.monotonic()
        if now >= next_report:
            next_report = now + REPORT_SECONDS
            report({"position": loader.committed, "counters": loader.counters, "segments": loader.segments.count})


def _seal(loader: Loader, command: dict[str, Any]) -> None:
    try:
        reached = loader.catch_up(spool.Position(*command["until"]))
        loader.segments.adopt()
        loader.seal()
    except (OSError, MemoryError) as error:
        report({"not_sealed": command["id"], "reason": str(error), "trouble": str(error)})
        return
    if reached:
        # With the counters: who sees the sealed spans also sees what was repaired in them.
        report({"sealed": command["id"], "position": loader.position, "counters": loader.counters})
    else:
        report({"not_sealed": command["id"], "reason": "the spool ends before what was acknowledged"})


def _say_alive(loader: Loader) -> None:
    while True:
        try:
            report({"turn": loader.turns})
        except (BrokenPipeError, ValueError):
            return
        time.sleep(ALIVE_SECONDS)


def _lock(data_dir: Path) -> DirectoryLock:
    """Wait for the loader of a receiver that was killed: it ends with it, but not in no time."""
    lock = DirectoryLock(data_dir / "segments" / LOCK_FILE, "a loader")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return lock.acquire()
        except DirectoryInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _lake(given: dict[str, Any] | None) -> LakeConfig | None:
    return LakeConfig.model_validate({**given, "catalog": os.environ["HALO_LAKE_CATALOG"]}) if given else None


def _publishing(directory: Path, lake: LakeConfig | None) -> Publishing | None:
    if lake is None:
        return None
    from halo_receiver.publishing import Publishing

    return Publishing(directory, lake)


def _run(settings: dict[str, Any]) -> None:
    given = dict(settings)
    lake = _lake(given.pop("lake", None))
    days = given.pop("retention_days")
    if lake is not None:
        days = min(days or math.inf, lake.keep_local_hours / 24)
    free_bytes = ROOM * given.pop("min_free_bytes")
    keep = retention.Keep(days=days, total_bytes=given.pop("retention_bytes"), free_bytes=free_bytes)
    merge_bytes, log_level = given.pop("merge_bytes"), given.pop("log_level")
    data_dir = Path(given.pop("data_dir"))
    lock = _lock(data_dir)
    try:
        loader = Loader(data_dir, tell=report, **given)
        housekeeping = Housekeeping(
            loader.segments,
            keep=keep,
            merge_bytes=merge_bytes,
            memory_limit_bytes=given["memory_limit_bytes"],
            mapping=conventions.MAPPING_VERSION,
            log_level=log_level,
            count=loader.count,
            publishing=_publishing(data_dir / "segments", lake),
        )
        loader.while_the_disk_refuses(housekeeping.look)
        try:
            serve(loader, housekeeping)
        finally:
            housekeeping.close()
            loader.segments.close()
    finally:
        lock.release()


def main() -> None:
    """Run as a child (children.py); the settings come as one JSON argument."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings")
    given = json.loads(parser.parse_args().settings)
    set_up(given["log_level"], given.pop("log_format"))
    os.nice(NICE)
    # Ctrl-C in a terminal, and systemd's SIGTERM, reach the whole group; the server alone decides when the loader ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        _run(given)
    except BrokenPipeError:  # the server was killed: what it acknowledged is in the spool
        os._exit(0)
    except OSError as error:
        told = DirectoryUnusable(
            f"cannot write {given['data_dir']}: {error.strerror or error}",
            hint="make it writable for this user, free some disk, or name another directory with --data-dir",
        )
        _fail(told)
    except MemoryError as error:
        _fail(
            HaloError(
                f"memory is short: {error}", hint="raise [store] memory_limit_bytes, or what this process may use"
            )
        )
    except HaloError as error:
        _fail(error)


def _fail(error: HaloError) -> None:
    with contextlib.suppress(BrokenPipeError):  # the server has failed before, and has said why
        report({"failed": str(error), "hint": error.hint})
    os._exit(2)


if __name__ == "__main__":
    main()
