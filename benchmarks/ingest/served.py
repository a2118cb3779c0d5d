"""Parts that load a receiver as fast as it goes, beside a server that receives the same bytes and does nothing."""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import h2, payloads
from benchmarks.ingest.common import cpu, null_server, receiver, say, say_refused, seal, stored_spans
from benchmarks.phoenix import phoenix
from benchmarks.servers import Receiver
from halo_worker import segments_client

H2LOAD_REQUESTS = {"llm": 500, "plain": 5000}
PHOENIX_SECONDS = 60  # for which it may store what it acknowledged


def throughput(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """Acknowledged and stored, as rates and as shares of what the null server takes."""
    pool = payloads.requests(workload, count=options.pool, spans=options.request)
    with null_server() as server:
        h2.send(server.address, pool, seconds=min(1, options.seconds), in_flight=options.in_flight)
        before = server.cpu_seconds()
        null = h2.send(server.address, pool, seconds=options.seconds, in_flight=options.in_flight)
        null_cpu = (server.cpu_seconds() - before) / max(1, null.spans)
    with receiver() as server:
        first = h2.send(server.address, pool, seconds=min(1, options.seconds), in_flight=options.in_flight)
        seal(server)
        before, own, started = server.cpu_of_each(), cpu(), time.perf_counter()
        got = h2.send(
            server.address, pool, seconds=options.seconds, in_flight=options.in_flight, renew_from=first.requests + 1000
        )
        peak = server.memory_mib()
        client = (cpu() - own) / got.spans
        seal(server)
        took = time.perf_counter() - started
        each = [(now - then) / got.spans * 1e6 for now, then in zip(server.cpu_of_each(), before, strict=False)]
        used = sum(each) / 1e6
        there = stored_spans(server)
        assert there == got.spans + first.spans, f"{there} stored, {got.spans + first.spans} acknowledged"
        size = server.segments_bytes() / (got.bytes + first.bytes)
    raw = got.bytes / got.spans
    result = {
        "null": null.spans / null.seconds,
        "acknowledged": got.spans / got.seconds,
        "stored": got.spans / took,
        "acknowledged / null": got.spans / got.seconds / (null.spans / null.seconds),
        "stored / null": got.spans / took / (null.spans / null.seconds),
        "CPU µs": used * 1e6,
        "null CPU µs": null_cpu * 1e6,
        "file / raw": size,
    }
    say(f"{workload}: {raw:,.0f} B a span, {options.request} a request, {options.in_flight} in flight")
    say(f"  null          {result['null']:>10,.0f} spans/s  {null_cpu * 1e6:6.1f} µs CPU a span")
    say(f"  acknowledged  {result['acknowledged']:>10,.0f} spans/s  {result['acknowledged / null']:.2f} × null")
    say(
        f"  stored        {result['stored']:>10,.0f} spans/s  {result['stored / null']:.3f} × null  {used * 1e6:.1f} µs"
    )
    # What two cores can do with nothing else on them; a busy machine distorts rates, but hardly CPU time. The null
    # server is one thread.
    could = min(1 / null_cpu, 2 / (null_cpu + client))
    result["stored / null by CPU"] = 2 / (used + client) / could
    say(f"  by CPU time   {2 / (used + client):>10,.0f} spans/s  {result['stored / null by CPU']:.3f} × null  "
        f"receiver {each[0]:.1f}, loader {sum(each[1:]):.1f}, client {client * 1e6:.1f} µs")  # fmt: skip
    p50, p99 = got.percentile(0.5) * 1e3, got.percentile(0.99) * 1e3
    say(f"  p50/p99 {p50:.0f}/{p99:.0f} ms  file {size:.2f} × raw  {peak} MiB")
    say_refused(got)
    return result


def with_gzip(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """Acknowledged from clients that compress; the null server inflates as gRPC servers do, and does nothing else."""
    pool = payloads.requests(workload, count=options.pool, spans=options.request)
    for number, request in enumerate(pool):
        request.body = bytearray(gzip.compress(bytes(request.renew(number)), 6))
    rates = []
    for server_of in (lambda: null_server(inflate=True), receiver):
        with server_of() as server:
            h2.send(server.address, pool, seconds=min(1, options.seconds), in_flight=options.in_flight, gzip=True)
            before = server.cpu_seconds()
            got = h2.send(server.address, pool, seconds=options.seconds, in_flight=options.in_flight, gzip=True)
            say_refused(got)
            rates.append((got.spans / got.seconds, (server.cpu_seconds() - before) / got.spans * 1e6))
    ratio = rates[1][0] / rates[0][0]
    say(f"{workload} gzip: null {rates[0][0]:,.0f}, acknowledged {rates[1][0]:,.0f} spans/s: {ratio:.2f} × null")
    return {"acknowledged / null": ratio}


def with_phoenix(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """Stored by Phoenix and by us: each request once, for Phoenix keeps one span of an id; ours for longer."""
    if not options.phoenix:
        raise SystemExit("phoenix: name the interpreter of an environment with arize-phoenix: --phoenix PYTHON")
    pool = payloads.requests(workload, count=options.pool, spans=options.request)
    total = sum(request.spans for request in pool)
    rates, costs = [], []
    with (
        tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder,
        phoenix(options.phoenix, Path(folder)) as peer,
    ):
        before, started = peer.cpu_seconds(), time.perf_counter()
        got = h2.send(peer.address, pool, seconds=PHOENIX_SECONDS, in_flight=options.in_flight, limit=total)
        say_refused(got)
        there = peer.wait_until_stored(got.spans, seconds=PHOENIX_SECONDS)
        rates.append(there / (time.perf_counter() - started))
        costs.append((peer.cpu_seconds() - before) / max(1, there) * 1e6)
    say(f"{workload} Phoenix: {there:,} of {got.spans:,} acknowledged are stored")
    with receiver() as server:
        before, started = server.cpu_seconds(), time.perf_counter()
        got = h2.send(server.address, pool, seconds=options.seconds, in_flight=options.in_flight)
        say_refused(got)
        seal(server)
        rates.append(got.spans / (time.perf_counter() - started))
        costs.append((server.cpu_seconds() - before) / got.spans * 1e6)
    for name, rate, cost in zip(("Phoenix", "halo"), rates, costs, strict=True):
        say(f"  {name:<10}{rate:>10,.0f} spans stored/s  {cost:,.0f} µs CPU a span")
    say(f"  halo / Phoenix: {rates[1] / rates[0]:,.0f} × as many spans a second, {costs[0] / costs[1]:,.0f} × less CPU")
    return {"stored / Phoenix": rates[1] / rates[0], "CPU ratio": costs[0] / costs[1]}


def with_h2load(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """Acknowledged to h2load. It takes every HTTP 200 for success, so the receiver's own count is what is believed."""
    program = shutil.which("h2load")
    if program is None:
        say(f"{workload} h2load: NOT RUN, it is not installed (Debian: nghttp2-client)")
        return {}
    (request,) = payloads.requests(workload, count=1, spans=options.request)
    number = min(H2LOAD_REQUESTS[workload], int(options.seconds * 1000))
    rates = []
    for server_of in (null_server, receiver):
        with server_of() as server, tempfile.NamedTemporaryFile() as body:
            body.write(struct.pack(">BI", 0, len(request.body)) + request.body)
            body.flush()
            done = subprocess.run(
                [
                    program, "-n", str(number), "-c", "4", "-m", str(max(1, options.in_flight // 4)), "-d", body.name,
                    "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{server.address}{h2.PATH}",
                ],
                capture_output=True, text=True, check=True, timeout=300,
            )  # fmt: skip
            found = re.search(r"finished in [^,]+, ([0-9.]+) req/s", done.stdout)
            assert found, done.stdout
            rates.append(float(found[1]) * request.spans)
            if isinstance(server, Receiver):
                address = segments_client.ReceiverAddress.read(server.data_dir)
                assert address
                status = segments_client.status(address)
                assert isinstance(status, segments_client.Status), status
                taken = re.search(
                    r'halo_requests_total\{code="OK",signal="traces",transport="grpc"\} (\S+)', status.metrics
                )
                assert taken, status.metrics
                assert float(taken[1]) == number, f"{taken[1]} acknowledged of {number}"
    ratio = rates[1] / rates[0]
    say(f"{workload} h2load: null {rates[0]:,.0f}, acknowledged {rates[1]:,.0f} spans/s: {ratio:.2f} × null")
    return {"acknowledged / null": ratio}
