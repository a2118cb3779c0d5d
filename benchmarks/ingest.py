"""How fast spans come in: `python -m benchmarks.ingest [PART…] [--seconds S] [--workload llm|plain] [--spans N]`.

Parts: `profile` (CPU per span and stage, in one process), `throughput` (acknowledged and stored, against a server that
receives the same bytes and does nothing), `gzip` (the same with gzip clients), `latency` (acknowledgements at 50
requests/s of 64 spans), `naive` (CPU against MessageToDict and executemany), `memory` (both processes over `--long`
spans), `questions` (overview and one trace over segments of `--long` spans), `seal` (at 5,000 spans/s), `phoenix`
(stored on the same stream by Arize Phoenix of the interpreter `--phoenix PYTHON`), `h2load` (acknowledged to nghttp2's
load generator, a client that is not ours; it sends one request again and again).
Without a part: all but memory, questions and phoenix, which take minutes.

Figures are ratios of one run. Client, server and loader share the machine, so CPU per span is the steadier number.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import resource
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import h2, payloads
from benchmarks.phoenix import phoenix
from benchmarks.servers import NullServer, Receiver
from halo_receiver import request_check, spool
from halo_receiver.store import manifest
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName, listed
from halo_receiver.store.writer import SegmentWriter
from halo_worker import segments_client

SPANS = 256  # a request
PARTS = ("profile", "throughput", "gzip", "latency", "naive", "seal", "memory", "questions", "phoenix", "h2load")
LONG_PARTS = ("memory", "questions", "phoenix")
H2LOAD_REQUESTS = {"llm": 500, "plain": 5000}
PHOENIX_SECONDS = 60  # for which it may store what it acknowledged


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
        before, own, started = server.cpu_of_each(), _cpu(), time.perf_counter()
        got = h2.send(
            server.address, pool, seconds=options.seconds, in_flight=options.in_flight, renew_from=first.requests + 1000
        )
        peak = server.memory_mib()
        client = (_cpu() - own) / got.spans
        seal(server)
        took = time.perf_counter() - started
        each = [(now - then) / got.spans * 1e6 for now, then in zip(server.cpu_of_each(), before, strict=False)]
        cpu = sum(each) / 1e6
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
        "CPU µs": cpu * 1e6,
        "null CPU µs": null_cpu * 1e6,
        "file / raw": size,
    }
    say(f"{workload}: {raw:,.0f} B a span, {options.request} a request, {options.in_flight} in flight")
    say(f"  null          {result['null']:>10,.0f} spans/s  {null_cpu * 1e6:6.1f} µs CPU a span")
    say(f"  acknowledged  {result['acknowledged']:>10,.0f} spans/s  {result['acknowledged / null']:.2f} × null")
    say(f"  stored        {result['stored']:>10,.0f} spans/s  {result['stored / null']:.3f} × null  {cpu * 1e6:.1f} µs")
    # What two cores can do with nothing else on them; a busy machine distorts rates, but hardly CPU time. The null
    # server is one thread.
    could = min(1 / null_cpu, 2 / (null_cpu + client))
    result["stored / null by CPU"] = 2 / (cpu + client) / could
    say(f"  by CPU time   {2 / (cpu + client):>10,.0f} spans/s  {result['stored / null by CPU']:.3f} × null  "
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


def latency(options: argparse.Namespace) -> dict[str, float]:
    """Acknowledgements on a clock: 50 requests a second of 64 LLM spans."""
    pool = payloads.requests("llm", count=options.pool, spans=64)
    with receiver() as server:
        h2.send(server.address, pool, seconds=min(2, options.seconds), per_second=50)
        got = h2.send(server.address, pool, seconds=options.seconds, per_second=50, in_flight=1000, renew_from=10_000)
    p50, p99 = got.percentile(0.5) * 1e3, got.percentile(0.99) * 1e3
    say(f"50 requests/s of 64 LLM spans: acknowledged in p50 {p50:.1f} ms, p99 {p99:.1f} ms of {got.requests}")
    say_refused(got)
    return {"p50 ms": p50, "p99 ms": p99}


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


def questions(options: argparse.Namespace) -> dict[str, float]:
    """An overview and one trace by id over `--segments` segments of `--long` spans, warm.

    Each segment begins with the last spans of the one before, sent again: their traces lie in two.
    """
    from halo_receiver.batch_tables import Tables

    each, hour = options.long // options.segments, 3600 * 10**9
    pool = payloads.requests("plain", count=24, spans=options.request)
    pool += payloads.requests("llm", count=6, spans=options.request)
    number, wanted, tables, again = 0, "", Tables(max_attribute_bytes=2**20), None
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        directory = Path(folder) / "segments"
        directory.mkdir()
        for segment in range(options.segments):
            arrival = 1_790_000_000_000_000_000 + segment * hour
            writer = SegmentWriter(directory, SegmentName.at(arrival, segment + 1), mapping=1)
            writer.append(spans=again, logs=None)
            done = 0
            while done < each:
                request = pool[number % len(pool)]
                tables.add("traces", "protobuf", bytes(request.renew(number)), arrival + done)
                done += request.spans
                number += 1
                if tables.full or done >= each:
                    table, _ = tables.take()
                    wanted = wanted or (table["trace_id"][0].as_py() if segment == options.segments // 2 else "")
                    writer.append(spans=table, logs=None)
                    again = table.slice(0, 200)
            writer.seal()
        manifest.load(directory, listed(directory), write=True)
        size = sum(path.stat().st_size for path in listed(directory))
        result: dict[str, float] = {"spans": float(options.segments * each), "bytes": float(size)}
        overview = "SELECT count(*), sum(span_count), sum(error_count), sum(cost_usd) FROM traces"
        one = "SELECT * FROM spans WHERE trace_id = ?"

        def ask_for_one() -> None:
            with Reader.open(Path(folder), trace_id=wanted) as reader:
                assert reader.query(one, [wanted])

        result["open, trace ms"] = _warm(ask_for_one)
        with Reader.open(Path(folder)) as reader:
            result["overview ms"] = _warm(lambda: reader.query(overview))
            result["trace ms"] = _warm(lambda: reader.query(one, [wanted]))
        say(f"{options.segments * each:,} spans in {options.segments} segments, {size >> 20} MiB")
        say(f"  overview {result['overview ms']:.0f} ms; one trace by id, its segments found and opened "
            f"{result['open, trace ms']:.0f} ms, with all of them open {result['trace ms']:.0f} ms")  # fmt: skip
    return result


def _warm(act: Callable[[], Any]) -> float:
    act()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _timed(name: str, spans: int, act: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    best, result = 1e9, None
    for _ in range(rounds):
        started = _cpu()
        result = act()
        best = min(best, _cpu() - started)
    say(f"  {name:<22}{best / spans * 1e6:8.2f} µs a span")
    return best / spans * 1e6, result


def profile(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """CPU of each stage of the way in, alone in this process: µs a span."""
    from halo_receiver import conventions, decode
    from halo_receiver.batch_tables import Tables
    from halo_receiver.store import columns

    pool = payloads.requests(workload, count=options.pool, spans=options.request)
    spans = sum(request.spans for request in pool)
    bodies = [bytes(request.renew(number)) for number, request in enumerate(pool)]
    packed = [gzip.compress(body, 6) for body in bodies]
    raw = sum(map(len, bodies)) / spans
    say(f"{workload}: {raw:,.0f} B a span, gzip {raw * spans / sum(map(len, packed)):.1f} : 1, {spans} spans")
    result = {"raw": raw}
    result["inflate"], _ = _timed(
        "inflate", spans, lambda: [len(request_check.inflate(body, 2**26)) for body in packed]
    )
    result["check"], _ = _timed(
        "check", spans, lambda: [request_check.check("traces", "protobuf", body) for body in bodies]
    )
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        writer = spool.SpoolWriter(Path(folder) / "spool")

        def append() -> None:
            for body in bodies:
                frame = spool.encode(kind="traces", encoding="protobuf", compression="none", arrival_ns=1, body=body)
                writer.append([frame])

        result["spool"], _ = _timed("spool", spans, append)
        writer.close()
        spooled = Path(folder) / "spool"  # by each of the three rounds
        result["read"], _ = _timed("read the spool", 3 * spans, lambda: sum(1 for _ in spool.read_file(spooled, 1, 0)))
        result["decode"], decoded = _timed(
            "decode (reference)", spans, lambda: [span for body in bodies for span in decode.decode_traces(body).spans]
        )
        result["canonical"], meant = _timed(
            "canonical (reference)", spans, lambda: [conventions.canonical(span) for span in decoded]
        )
        rows = [(span, canonical, 1) for span, canonical in zip(decoded, meant, strict=True)]
        result["columns"], table = _timed("columns (reference)", spans, lambda: columns.span_table(rows))
        for scan, name in ((True, "all three, scanned"), (False, "all three, reference")):
            tables = Tables(max_attribute_bytes=2**20, scan=scan)

            def make(tables: Tables = tables) -> Any:
                for body in bodies:
                    tables.add("traces", "protobuf", body, 1)
                return tables.take()[0]

            result[name], table = _timed(name, spans, make)
        store = SegmentWriter(Path(folder), SegmentName.at(1_790_000_000_000_000_000, 1), mapping=1)
        result["insert"], _ = _timed("DuckDB insert", spans, lambda: store.append(spans=table, logs=None))
        started = _cpu()
        store.seal()
        result["seal"] = (_cpu() - started) / (3 * spans) * 1e6
        say(f"  {'seal':<22}{result['seal']:8.2f} µs a span")
    return result


def naive(workload: str, options: argparse.Namespace) -> dict[str, float]:
    """CPU of the receiver anyone writes first: MessageToDict, json.dumps, executemany, one commit a request."""
    pool = payloads.requests(workload, count=1, spans=options.request)
    body = bytes(pool[0].renew(1))
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        connection = duckdb.connect(str(Path(folder) / "naive.duckdb"))
        connection.execute(
            "CREATE TABLE spans (trace_id VARCHAR, span_id VARCHAR, parent VARCHAR, name VARCHAR, kind VARCHAR, "
            "start_time BIGINT, end_time BIGINT, status VARCHAR, resource JSON, attributes JSON, events JSON)"
        )

        def store() -> None:
            message = MessageToDict(ExportTraceServiceRequest.FromString(body))
            rows = [
                (
                    span["traceId"], span["spanId"], span.get("parentSpanId"), span["name"], span.get("kind"),
                    int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), json.dumps(span.get("status")),
                    json.dumps(group["resource"]), json.dumps(span["attributes"]), json.dumps(span.get("events", [])),
                )
                for group in message["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]
            ]  # fmt: skip
            connection.executemany("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

        cost, _ = _timed(f"{workload} naive", pool[0].spans, store)
        connection.close()
    ours = options.ours.get(workload)
    if ours:
        say(f"  naive / ours (whole process tree, transport included): {cost / ours:.0f} ×")
    return {"CPU µs": cost}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--workload", choices=("llm", "plain"), action="append")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pool", type=int, default=16, help="different requests")
    parser.add_argument("--request", type=int, default=SPANS, help="spans in one")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--long", type=int, default=5_000_000, help="spans for memory and questions")
    parser.add_argument("--phoenix", metavar="PYTHON", help="of an environment with arize-phoenix, for its part")
    parser.add_argument("--segments", type=int, default=24, help="for questions")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run the parts of `options`; return their figures by part and workload."""
    parts = options.parts or [part for part in PARTS if part not in LONG_PARTS]
    options.ours = {}
    found: dict[str, dict[str, float]] = {}
    for part in parts:
        say(f"\n== {part}")
        if part in ("latency", "seal", "memory", "questions"):
            act = {"latency": latency, "seal": seal_latency, "memory": memory, "questions": questions}[part]
            found[part] = act(options)
            continue
        for workload in options.workload or ("llm", "plain"):
            each = {
                "profile": profile,
                "throughput": throughput,
                "gzip": with_gzip,
                "naive": naive,
                "phoenix": with_phoenix,
                "h2load": with_h2load,
            }[part]
            found[f"{part} {workload}"] = figures = each(workload, options)
            if part == "throughput":
                options.ours[workload] = figures["CPU µs"]
    return found


if __name__ == "__main__":
    main()
