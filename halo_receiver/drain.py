"""`halo receive --drain`: load what waits in the spool, seal, and end. A receiver that starts meanwhile goes first."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from halo_receiver import backlog, spool
from halo_receiver.config import ReceiverConfig, StoreConfig
from halo_receiver.errors import DirectoryInUse
from halo_receiver.loader_client import LoaderClient, LoaderGone, loader_settings
from halo_receiver.logs import event
from halo_receiver.metrics import Metrics
from halo_receiver.store.lock import DirectoryLock, holder

log = logging.getLogger("halo.receiver")

ADDRESS_FILE = "receiver.json"  # of a receiver that listens
HOLDER = "a drain of the spool"
LOOK_SECONDS = 0.2
WAIT_SECONDS = 120.0  # for which a receiver waits for a drain that it asked to end, or another that ends
DRAIN_SECONDS = 86_400.0  # for the whole of a drain; a loader that is stuck is ended far sooner
STOP_SECONDS = 60.0


def _turn(data_dir: Path) -> Path:
    """Return the lock file that a receiver holds while it waits: a drain that sees it held ends."""
    return data_dir / "segments" / "turn.lock"


def lock_for_receiver(data_dir: Path) -> DirectoryLock:
    """Take the writer's lock. Raises DirectoryInUse when a receiver is at work.

    A drain that has it is asked to end, and waited for; so is a receiver that ends, as after a kill of `halo up`: it
    has taken its address away and loads what it acknowledged.
    """
    lock = DirectoryLock(backlog.writer_lock(data_dir), "a receiver")

    def listens(error: DirectoryInUse) -> bool:
        return HOLDER not in str(error) and (data_dir / ADDRESS_FILE).exists()

    try:
        return lock.acquire()
    except DirectoryInUse as error:
        if listens(error):
            raise
        event(log, "waiting for the writer's lock", held_by=holder(lock.path) or "nobody any more")
    deadline = time.monotonic() + WAIT_SECONDS
    with DirectoryLock(_turn(data_dir), "a receiver that waits for a drain"):
        while True:
            try:
                return lock.acquire()
            except DirectoryInUse as error:
                if time.monotonic() > deadline or listens(error):
                    raise
                time.sleep(LOOK_SECONDS)


def lock_for_drain(data_dir: Path) -> DirectoryLock:
    """Take the writer's lock. Raises DirectoryInUse when a receiver has it, or waits for it."""
    return DirectoryLock(backlog.writer_lock(data_dir), HOLDER).acquire()


async def drain(
    store: StoreConfig, config: ReceiverConfig, *, stopping: asyncio.Event, say: Callable[[str], None]
) -> int:
    """Load and seal what waits; return 0 when nothing is left, 1 when it was told to stop or the store refused.

    The caller holds the writer's lock. Raises HaloError when the loader cannot start.
    """
    data_dir = store.data_dir.absolute()
    before = backlog.waiting(data_dir)
    until = _end(data_dir / "spool")
    if before is None or until is None:
        say("nothing waits in the spool")
        return 0
    # It only loads: what may be merged or deleted the receiver knows, which may have a lake.
    settings = loader_settings(store, config) | {"merge_bytes": 0, "retention_days": 0, "retention_bytes": 0}
    loader = LoaderClient(settings, Metrics())
    started = time.monotonic()
    await loader.start()
    loader.synced = until
    sealing = asyncio.create_task(loader.seal(until, timeout=DRAIN_SECONDS))
    while not (sealing.done() or stopping.is_set() or holder(_turn(data_dir))):
        await asyncio.wait({sealing}, timeout=LOOK_SECONDS)
    reason = _reason(sealing)
    # Without a place to load up to it finishes what it is at, and seals that.
    await loader.stop(until if reason is None else None, timeout=STOP_SECONDS)
    left = backlog.waiting(data_dir)
    event(
        log, "spool drained", bytes=before.bytes - (left.bytes if left else 0), seconds=time.monotonic() - started,
        left=left.bytes if left else 0, reason=reason or "all is loaded",
    )  # fmt: skip
    say(f"loaded: {before}".removesuffix(" and not loaded") if left is None else f"still waiting: {left}")
    return 0 if left is None else 1


def _reason(sealing: asyncio.Task[None]) -> str | None:
    """Say why a drain is over before all was loaded; None when all was."""
    if not sealing.done():
        sealing.cancel()
        return "it was told to end"
    try:
        sealing.result()
    except (LoaderGone, TimeoutError) as error:
        return str(error)
    return None


def _end(directory: Path) -> spool.Position | None:
    numbers = spool.file_numbers(directory)
    if not numbers:
        return None
    return spool.Position(numbers[-1], (directory / spool.file_name(numbers[-1])).stat().st_size)
