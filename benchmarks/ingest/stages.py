"""Parts in this process alone: CPU of each stage of the way in, and questions to what is stored."""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import payloads
from benchmarks.ingest.common import cpu, say, timed
from halo_receiver import request_check, spool
from halo_receiver.store import manifest
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName, listed
from halo_receiver.store.writer import SegmentWriter


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
    result["inflate"], _ = timed("inflate", spans, lambda: [len(request_check.inflate(body, 2**26)) for body in packed])
    result["check"], _ = timed(
        "check", spans, lambda: [request_check.check("traces", "protobuf", body) for body in bodies]
    )
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        writer = spool.SpoolWriter(Path(folder) / "spool")

        def append() -> None:
            for body in bodies:
                frame = spool.encode(kind="traces", encoding="protobuf", compression="none", arrival_ns=1, body=body)
                writer.append([frame])

        result["spool"], _ = timed("spool", spans, append)
        writer.close()
        spooled = Path(folder) / "spool"  # by each of the three rounds
        result["read"], _ = timed("read the spool", 3 * spans, lambda: sum(1 for _ in spool.read_file(spooled, 1, 0)))
        result["decode"], decoded = timed(
            "decode (reference)", spans, lambda: [span for body in bodies for span in decode.decode_traces(body).spans]
        )
        result["canonical"], meant = timed(
            "canonical (reference)", spans, lambda: [conventions.canonical(span) for span in decoded]
        )
        rows = [(span, canonical, 1) for span, canonical in zip(decoded, meant, strict=True)]
        result["columns"], table = timed("columns (reference)", spans, lambda: columns.span_table(rows))
        for scan, name in ((True, "all three, scanned"), (False, "all three, reference")):
            tables = Tables(max_attribute_bytes=2**20, scan=scan)

            def make(tables: Tables = tables) -> Any:
                for body in bodies:
                    tables.add("traces", "protobuf", body, 1)
                return tables.take()[0]

            result[name], table = timed(name, spans, make)
        store = SegmentWriter(Path(folder), SegmentName.at(1_790_000_000_000_000_000, 1), mapping=1)
        result["insert"], _ = timed("DuckDB insert", spans, lambda: store.append(spans=table, logs=None))
        started = cpu()
        store.seal()
        result["seal"] = (cpu() - started) / (3 * spans) * 1e6
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

        cost, _ = timed(f"{workload} naive", pool[0].spans, store)
        connection.close()
    ours = options.ours.get(workload)
    if ours:
        say(f"  naive / ours (whole process tree, transport included): {cost / ours:.0f} ×")
    return {"CPU µs": cost}
