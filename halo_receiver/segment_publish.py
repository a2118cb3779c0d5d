"""One publication of sealed segments into the lake, in a process of its own that may be killed at any moment.

Its steps, each of which a later run goes on after: take the lease of the data directory; finish or give up what an
earlier run began; claim a number; write the rows under that number in one transaction of the lake; let the number count
(`lake_state.finish`), which fails where the lease has gone to another process meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from halo_receiver.config import LakeConfig
from halo_receiver.errors import HaloError, StoreError
from halo_receiver.logs import set_up
from halo_receiver.store import lake
from halo_receiver.store.lake_state import RENEWALS, LakeState

NICE = 10


def publish(
    config: LakeConfig, directory: Path, receiver: str, names: Sequence[str], *, reached_ns: int,
    memory_limit: str, threads: int,
) -> dict[str, Any]:  # fmt: skip
    """Publish segments of a directory that are not published yet; return which are now, and what could not be read.

    `reached_ns`: with these segments all that arrived before this time is published. Raises LakeUnavailable, or
    StoreError where another process holds the lease.
    """
    with LakeState.open(config) as state, _lease(state, config, f"receiver:{receiver}") as (name, epoch):
        _settle_unfinished(state, config, receiver, name, epoch)
        known = state.published(receiver)
        wanted = [segment for segment in names if segment not in known]
        told: dict[str, Any] = {"spans": 0, "logs": 0, "damaged": []}
        if wanted:
            number = state.claim(receiver, epoch, wanted)
            done = lake.publish(
                config, number, [directory / each for each in wanted], buckets=state.buckets(),
                memory_limit=memory_limit, threads=threads,
            )  # fmt: skip
            told = {"spans": done.spans, "logs": done.logs, "damaged": [item.path.name for item in done.unreadable]}
            _finish(state, number, name, epoch, done)
        state.seen(
            receiver, host=socket.gethostname(), data_dir=str(directory.parent.absolute()),
            published_until_ns=reached_ns,
        )  # fmt: skip
    return {**told, "published": sorted(set(names) - set(told["damaged"]))}


def _settle_unfinished(state: LakeState, config: LakeConfig, receiver: str, name: str, epoch: int) -> None:
    """Let count what an earlier process wrote whole, and give up the rest."""
    for number, _ in state.unfinished(receiver):
        there = lake.written(config, number)
        if not (there.spans or there.logs) or not state.finish(number, name, epoch, spans=there.spans, logs=there.logs):
            state.void(number)


def _finish(state: LakeState, number: int, name: str, epoch: int, done: lake.Written) -> None:
    if not state.finish(number, name, epoch, spans=done.spans, logs=done.logs):
        state.void(number)
        raise StoreError(f"publication {number} came too late: another process publishes this data directory")


@contextlib.contextmanager
def _lease(state: LakeState, config: LakeConfig, name: str) -> Iterator[tuple[str, int]]:
    """Hold a lease while the block runs, renewed from a thread with a connection of its own."""
    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    epoch = state.lease(name, holder, config.lease_seconds)
    if epoch is None:
        raise StoreError("another process publishes this data directory, or did a moment ago: its lease has not ended")
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(config, name, holder, ended), daemon=True)
    renewing.start()
    try:
        yield name, epoch
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(HaloError):
            state.release(name, holder)


def _renew(config: LakeConfig, name: str, holder: str, ended: threading.Event) -> None:
    while not ended.wait(config.lease_seconds / RENEWALS):
        with contextlib.suppress(HaloError), LakeState.open(config) as state:  # it is tried again, and `finish` looks
            state.lease(name, holder, config.lease_seconds)


def main() -> None:
    """Run as a child (children.py); what to do comes as one JSON argument, the catalog from the environment."""
    given = json.loads(sys.argv[1])
    set_up(given["log_level"], given["log_format"])
    os.nice(NICE)
    try:
        config = LakeConfig.model_validate({**given["lake"], "catalog": os.environ["HALO_LAKE_CATALOG"]})
        told = publish(
            config, Path(given["directory"]), given["receiver"], given["names"], reached_ns=given["reached_ns"],
            memory_limit=given["memory_limit"], threads=given["threads"],
        )  # fmt: skip
    except HaloError as error:
        sys.stdout.write(json.dumps({"failed": str(error)}))
        sys.exit(1)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
