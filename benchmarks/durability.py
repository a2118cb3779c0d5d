"""How hard the receiver is to kill, and what keeping its segments costs: python -m benchmarks.durability [NAME…]

kills      rounds of load, each ended by SIGKILL of the spool's writer and of the loader, in any order
receivers  the same through whole receivers, with gRPC in front, gzip and plain, and a verification after each
merge      small sealed segments of LLM spans into one: rate, memory, size; a trace by its id before and after
restart    how long a start takes that finds a backlog, until all of it is readable
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from benchmarks import payloads
from halo_receiver import child_processes, conventions, segment_rewrite, spool, spool_files
from halo_receiver.store import manifest, queries
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import segments_client
from tests.fixtures_receiver import EXPORT, ReceiverProcess, eventually, trace_request
from tests.receiver import killing
from tests.receiver.loading import ARRIVAL, append, open_loader


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def kills(folder: Path, options: argparse.Namespace) -> None:
    """Kill writer and loader; everything is verified at the end."""
    started, seed = time.monotonic(), random.randrange(2**32)
    command = [sys.executable, "-m", "tests.receiver.killing", str(folder), str(options.rounds), str(seed)]
    subprocess.run(command, check=True)
    acknowledged = killing.verify(folder) * killing.GROUP * killing.SPANS
    sealed, broken = len(listed(folder / "segments")), len(listed(folder / "segments", "broken"))
    say(
        f"kills: {options.rounds} rounds in {time.monotonic() - started:.0f} s, {acknowledged} spans acknowledged, "
        f"0 lost, 0 shown twice, no log record twice; {sealed} segments, {broken} set aside (seed {seed})"
    )


def receivers(folder: Path, options: argparse.Namespace) -> None:
    """Kill whole receivers under load; a client sends again what was not answered, under the same ids."""
    acknowledged: set[int] = set()
    started, verified = time.monotonic(), 0
    generator = random.Random(1)
    for number in range(options.receivers):
        receiver = ReceiverProcess(folder / "data", HALO_STORE_ROTATE_SECONDS="0.5")
        stop = threading.Event()

        def send(lane: int, receiver: ReceiverProcess = receiver, stop: threading.Event = stop) -> None:
            compression = grpc.Compression.Gzip if lane % 2 else grpc.Compression.NoCompression
            with grpc.insecure_channel(receiver.grpc) as channel:
                export = channel.unary_unary(EXPORT)
                while not stop.is_set():
                    trace = generator.getrandbits(100) * 2 + 1
                    body = trace_request(*((trace, span) for span in range(1, 51)), size=300)
                    try:
                        export(body, timeout=10, compression=compression)
                    except grpc.RpcError:
                        return
                    acknowledged.add(trace)

        threads = [threading.Thread(target=send, args=(lane,)) for lane in range(4)]
        for thread in threads:
            thread.start()
        target = len(acknowledged) + generator.randrange(1, 300)
        eventually(lambda target=target: len(acknowledged) >= target, seconds=60)
        if number % 3 == 2:
            receiver.process.kill()
            receiver.process.wait()
        else:
            receiver.kill()
        stop.set()
        for thread in threads:
            thread.join()
        if number % 5 == 4 or number == options.receivers - 1:
            receiver = ReceiverProcess(folder / "data")
            rows = receiver.rows("SELECT trace_id, count(*) AS n FROM spans GROUP BY 1")
            receiver.kill()
            assert acknowledged <= {int(row["trace_id"], 16) for row in rows}, "an acknowledged span is lost"
            assert {row["n"] for row in rows} == {50}, "a request in part, or a span twice"
            verified += 1
    say(
        f"receivers: {options.receivers} kills in {time.monotonic() - started:.0f} s, {len(acknowledged) * 50} spans "
        f"acknowledged, 0 lost, 0 shown twice, verified {verified} times"
    )


def merge(folder: Path, options: argparse.Namespace) -> None:
    """Merge segments as the housekeeping does, in a process of its own."""
    pool = payloads.requests("llm", count=16, spans=256)
    loader = open_loader(folder, memory_limit_bytes=2**29, threads=2)
    number = 0
    for segment in range(options.segments):
        bodies = []
        for _ in range(options.requests):
            bodies.append(bytes(pool[number % len(pool)].renew(number)))
            number += 1
        append(folder, *bodies, arrival_ns=ARRIVAL + segment * 60_000_000_000)
        append(folder)
        loader.step()
        loader.seal()
    loader.segments.close()
    directory = folder / "segments"
    names = [path.name for path in listed(directory)]
    before = manifest.load(directory, listed(directory), write=True)
    size, spans = sum(entry.bytes for entry in before), sum(entry.spans for entry in before)
    filters = sum(len(entry.traces or "") for entry in before)
    with Reader.open(folder) as reader:
        traces = [
            row["trace_id"] for row in reader.query("SELECT trace_id FROM traces ORDER BY hash(trace_id) LIMIT 20")
        ]
        count = reader.query("SELECT count(*) AS n FROM traces")[0]["n"]
    say(
        f"merge: {len(names)} segments, {spans} LLM spans in {count} traces, {size / 2**20:.0f} MiB; "
        f"trace filters {filters} bytes, {filters * 8 / count:.1f} bits a trace, {filters / size:.2e} of the segments"
    )
    _look_up(folder, traces, "before")
    started = time.monotonic()
    settings = {
        "directory": str(directory), "names": names, "memory_limit": "512MiB", "threads": 1, "log_level": "warning",
        "log_format": "text",
    }  # fmt: skip
    with child_processes.start(
        "halo-rewrite", "halo_receiver.segment_rewrite", json.dumps(settings), stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        made = json.loads(child.stdout.read())["made"]
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    published = segment_rewrite.merge.publish(directory, directory / segment_rewrite.merge.WORK / made)
    assert published
    after = published.stat().st_size
    say(
        f"merge: {seconds:.1f} s ({spans / seconds:,.0f} spans/s, one thread, nice), peak {peak:.0f} MiB, "
        f"{after / 2**20:.0f} MiB = {after / size:.2f} of the small ones, mapping {conventions.MAPPING_VERSION}"
    )
    _look_up(folder, traces, "after")


def _look_up(folder: Path, traces: list[str], when: str) -> None:
    def timed(**options: str) -> tuple[float, float]:
        took, opened = [], []
        for trace_id in traces:
            started = time.perf_counter()
            with Reader.open(folder, **({"trace_id": trace_id} if options else {})) as reader:
                queries.trace_spans(reader, trace_id)
                opened.append(len(reader.segments))
            took.append(time.perf_counter() - started)
        return statistics.median(took) * 1000, statistics.mean(opened)

    (pruned, few), (whole, many) = timed(trace_id="x"), timed()
    say(
        f"a trace by its id {when}: opens {few:.1f} of {many:.0f} segments, {pruned:.0f} ms against {whole:.0f} ms "
        f"for all ({pruned / whole:.2f})"
    )


def restart(folder: Path, options: argparse.Namespace) -> None:
    """Leave a backlog, start, and wait until all of it is sealed."""
    pool = payloads.requests("llm", count=16, spans=256)
    bodies = [bytes(pool[number % len(pool)].renew(number)) for number in range(options.backlog)]
    append(folder / "data", *bodies)
    size = spool_files.backlog(folder / "data" / "spool", spool.Position(0, 0))
    started = time.monotonic()
    receiver = ReceiverProcess(folder / "data")
    try:
        ready = time.monotonic() - started
        eventually(lambda: segments_client.seal(receiver.data_dir).answered, seconds=600)
        seconds = time.monotonic() - started
        rows = receiver.rows("SELECT count(*) AS n FROM spans")
    finally:
        receiver.kill()
    assert rows == [{"n": options.backlog * 256}]
    say(
        f"restart: {size / 2**20:.0f} MiB of backlog ({options.backlog * 256} LLM spans): takes requests after "
        f"{ready:.1f} s, all readable after {seconds:.1f} s"
    )


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "kills": kills, "receivers": receivers, "merge": merge, "restart": restart,
}  # fmt: skip


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--receivers", type=int, default=30)
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--requests", type=int, default=8, help="of 256 LLM spans, in each segment to merge")
    parser.add_argument("--backlog", type=int, default=100, help="requests of 256 LLM spans")
    options = parser.parse_args()
    for name in options.parts:
        with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
            PARTS[name](Path(folder), options)


if __name__ == "__main__":
    main()
