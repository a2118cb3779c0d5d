"""`python -m halo_receiver`: load the settings, recover, serve until SIGTERM or SIGINT, drain, seal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from halo_receiver import drain, permissions
from halo_receiver.config import AuthConfig, LakeConfig, ReceiverConfig, StoreConfig, load_receiver
from halo_receiver.errors import HaloError
from halo_receiver.logs import event, set_up
from halo_receiver.receiver import Receiver

log = logging.getLogger("halo.receiver")


def _until_a_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def empty(store: StoreConfig, config: ReceiverConfig) -> int:
    """Load what waits in the spool, or as much as there is time for until a signal."""
    return await drain.drain(store, config, stopping=_until_a_signal(), say=lambda said: print(said, file=sys.stderr))


async def serve(
    store: StoreConfig, config: ReceiverConfig, auth: AuthConfig, lake: LakeConfig, *, span_time: bool
) -> int:
    """Run one receiver until a signal."""
    stopping = _until_a_signal()
    receiver = Receiver(store, config, auth, lake, span_time=span_time)
    await receiver.start()
    await receiver.watch(stopping)
    return await receiver.stop()


def main() -> None:
    """Parse, run, and say in one line what was in the way."""
    parser = argparse.ArgumentParser(prog="python -m halo_receiver")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--grpc-endpoint")
    parser.add_argument("--http-endpoint")
    parser.add_argument("--drain", action="store_true")
    # Only the demo sets this: what comes over the wire otherwise arrives when it arrives.
    parser.add_argument("--arrival", choices=("now", "span-time"), default="now", help=argparse.SUPPRESS)
    given = parser.parse_args()
    overrides: dict[str, dict[str, Any]] = {"store": {}, "receiver": {}}
    if given.data_dir:
        overrides["store"]["data_dir"] = given.data_dir
    for name in ("grpc_endpoint", "http_endpoint"):
        if getattr(given, name):
            overrides["receiver"][name] = getattr(given, name)
    try:
        store, config, auth, lake = load_receiver(file=given.config, overrides=overrides)
        set_up(config.log_level, config.log_format)
        permissions.secure(store.data_dir, store.group, say=lambda said: event(log, said), make=True)
        lock = drain.lock_for_drain if given.drain else drain.lock_for_receiver
        with lock(store.data_dir), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            if given.drain:
                code = runner.run(empty(store, config))
            else:
                code = runner.run(serve(store, config, auth, lake, span_time=given.arrival == "span-time"))
    except HaloError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint:  {error.hint}\n" if error.hint else ""))
        # Threads of the half-started parts must not keep the process.
        sys.stderr.flush()
        os._exit(2)
    sys.exit(code)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
