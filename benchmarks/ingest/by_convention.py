"""Bytes to Arrow for each recorded convention, at several sizes and kinds of text: CPU a span, the worst first."""

from __future__ import annotations

import argparse
import gc
import zlib
from dataclasses import dataclass

from benchmarks.ingest.common import cpu, say
from benchmarks.payloads.recorded import Text, recordings, replayed
from benchmarks.payloads.request import Request
from halo_receiver.batch_tables import Tables

AIM, AIM_BYTES = 25.0, 8192  # µs a span, up to that size
SETS: tuple[tuple[Text, int], ...] = (
    ("recorded", 0), ("natural", 2048), ("natural", 8192), ("random", 8192), ("repeated", 8192), ("natural", 65536),
)  # fmt: skip
SPANS, ROUNDS, SHOWN = 512, 5, 25


@dataclass(frozen=True, slots=True)
class Cost:
    """What one set costs."""

    microseconds: float
    bytes_a_span: float
    compressed: float  # raw to compressed
    unsure: float  # share of the requests of which the scanner is not sure
    name: str


def conventions(options: argparse.Namespace) -> dict[str, float]:
    """Measure every set; return µs a span by its name."""
    spans = min(SPANS, options.long)
    costs = [
        _cost(f"{name}, {text}{f' {size // 1024} kB' if size else ''}",
              replayed(bodies, spans=spans, text=text, bytes_a_span=size))
        for name, bodies in recordings().items() for text, size in SETS
    ]  # fmt: skip
    if not costs:
        say("NOT RUN: no recorded payloads are here (HALO_SHARED names their folder)")
        return {}
    costs.sort(key=lambda cost: -cost.microseconds)
    small = [cost for cost in costs if cost.bytes_a_span <= AIM_BYTES * 1.1]
    say(f"  {'µs a span':>9}  {'bytes':>7}  {'gzip':>5}  unsure")
    for cost in small[:SHOWN]:
        say(
            f"  {cost.microseconds:9.1f}  {cost.bytes_a_span:7,.0f}  {cost.compressed:4.1f}:1  {cost.unsure:6.0%}  "
            f"{cost.name}"
        )
    late = sum(cost.microseconds > AIM for cost in small)
    say(f"up to {AIM_BYTES >> 10} kB: {small[0].microseconds:.1f} to {small[-1].microseconds:.1f} µs a span in "
        f"{len(small)} sets, the median {small[len(small) // 2].microseconds:.1f}; {late} over {AIM:.0f}")  # fmt: skip
    large = [cost for cost in costs if cost not in small]
    if large:
        say(f"larger: {large[0].microseconds:.1f} ({large[0].name}) to {large[-1].microseconds:.1f} µs a span")
    return {cost.name: cost.microseconds for cost in costs}


def _cost(name: str, requests: list[Request]) -> Cost:
    bodies = [bytes(request.body) for request in requests]
    spans, size = sum(request.spans for request in requests), sum(map(len, bodies))
    best, unsure = float("inf"), 0
    for _ in range(ROUNDS):
        tables = Tables(max_attribute_bytes=2**20)
        gc.collect()
        began = cpu()
        for body in bodies:
            tables.add("traces", "protobuf", body, 1)
        tables.take()
        best = min(best, cpu() - began)
    probe = Tables(max_attribute_bytes=2**20)
    if probe._scanner is not None:
        unsure = sum(not probe._scan(body, 1) for body in bodies)
    packed = sum(len(zlib.compress(body, 6)) for body in bodies[:16])
    return Cost(best / spans * 1e6, size / spans, sum(map(len, bodies[:16])) / packed, unsure / len(bodies), name)
