"""What the parts share: servers on temporary directories, what is stored, CPU time."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import h2
from benchmarks.servers import NullServer, Receiver
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import segments_client


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        server = Receiver(Path(folder) / "data")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def null_server(*, inflate: bool = False) -> Iterator[NullServer]:
    """A server that does nothing."""
    server = NullServer(inflate=inflate)
    try:
        yield server
    finally:
        server.stop()


def say_refused(outcome: h2.Outcome) -> None:
    """Print what was not acknowledged, and why: a figure beside it is of an overloaded receiver."""
    for why, number in outcome.refusals.most_common():
        say(f"  NOT ACKNOWLEDGED {number:,} of {number + outcome.requests:,} requests: {why}")


def seal(server: Receiver) -> None:
    """Wait until all that was acknowledged is in sealed segments."""
    deadline = time.monotonic() + 600
    while not segments_client.seal(server.data_dir).answered:
        if time.monotonic() > deadline:
            raise TimeoutError("the receiver does not catch up")


def stored_spans(server: Receiver) -> int:
    """Count the rows in sealed segments."""
    with Reader(listed(server.data_dir / "segments")) as reader:
        return int(reader.query("SELECT count(*) AS n FROM spans")[0]["n"])


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(name: str, spans: int, act: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """Print and return the least CPU of some rounds, in µs a span, and what `act` returned."""
    best, result = 1e9, None
    for _ in range(rounds):
        started = cpu()
        result = act()
        best = min(best, cpu() - started)
    say(f"  {name:<22}{best / spans * 1e6:8.2f} µs a span")
    return best / spans * 1e6, result
