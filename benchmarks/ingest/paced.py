"""Parts at a rate, or over many spans: how long an acknowledgement and a Seal take, and how much memory."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import zlib

from benchmarks import h2, payloads
from benchmarks.ingest.common import receiver, say, say_refused, seal
from halo_worker import segments_client


def latency(options: argparse.Namespace) -> dict[str, float]:
    """Acknowledgements on a clock: 50 requests a second of 64 LLM spans."""
    pool = payloads.requests("llm", count=options.pool, spans=64)
    with receiver() as server:
        h2.send(server.address, pool, seconds=min(2, options.seconds), per_second=50)
        got = h2.send(server.address, pool, seconds=options.seconds, per_second=50, in_flight=1000, renew_from=10_000)
    p50, p99 = got.percentile(0.5) * 1e3, got.percentile(0.99) * 1e3
    say(f"50 requests/s of 64 LLM spans: acknowledged in p50 {p50:.1f} ms, p99 {p99:.1f} ms of {got.requests}")
    say_refused(got)
    alone = _synced_alone([zlib.compress(bytes(request.body), 1) for request in pool], options.seconds)
    middle, last = alone[len(alone) // 2] * 1e3, alone[len(alone) * 99 // 100] * 1e3
    say(f"write and fdatasync alone, as much at the same pace: p50 {middle:.1f} ms, p99 {last:.1f} ms of {len(alone)}")
    return {"p50 ms": p50, "p99 ms": p99, "p50 of the disk ms": middle, "p99 of the disk ms": last}


def _synced_alone(packed: list[bytes], seconds: float) -> list[float]:
    """Append packed requests to a file, 50 a second, each with its fdatasync; seconds that took, sorted."""
    took: list[float] = []
    with tempfile.TemporaryFile(prefix="halo-benchmark-", buffering=0) as file:
        began = time.perf_counter()
        while (started := time.perf_counter()) < began + seconds:
            file.write(packed[len(took) % len(packed)])
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
            time.sleep(max(0.0, began + len(took) / 50 - time.perf_counter()))
    return sorted(took)


def seal_latency(options: argparse.Namespace) -> dict[str, float]:
    """`Seal` while 5,000 spans a second come in."""
    pool = payloads.requests("llm", count=options.pool, spans=100)
    took: list[float] = []
    with receiver() as server:

        def ask() -> None:
            started = time.perf_counter()
            if segments_client.seal(server.data_dir).answered:
                took.append(time.perf_counter() - started)

        # The question is asked between requests: a Seal that takes long holds up the clock, not the answers.
        h2.send(server.address, pool, seconds=options.seconds, per_second=50, in_flight=1000, each_second=ask)
    if took:
        say(
            f"Seal at 5,000 LLM spans/s: median {statistics.median(took):.2f} s, worst {max(took):.2f} s of {len(took)}"
        )
    return {"median s": statistics.median(took) if took else 0.0, "worst s": max(took, default=0.0)}


def memory(options: argparse.Namespace) -> dict[str, float]:
    """Resident memory of receiver and loader while `--long` spans come in."""
    pool = payloads.requests("plain", count=options.pool, spans=options.request)
    pool += payloads.requests("llm", count=max(1, options.pool // 4), spans=options.request)
    seen: list[list[int]] = []
    with receiver() as server:
        total = 0
        while total < options.long:
            got = h2.send(
                server.address, pool, seconds=30, in_flight=options.in_flight, renew_from=total,
                limit=min(options.long - total, 200_000), each_second=lambda: seen.append(server.memory_mib()),
            )  # fmt: skip
            say_refused(got)
            total += got.spans
            seal(server)
            seen.append(server.memory_mib())
    sums = [sum(sizes) for sizes in seen]
    half = max(1, len(sums) // 2)
    say(f"{total:,} spans: at most {max(sums[:half])} MiB in the first half, {max(sums[half:] or [0])} in the second")
    return {"MiB": max(sums)}
