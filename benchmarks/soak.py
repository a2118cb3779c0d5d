"""A receiver for an hour under load, aborts, rolling, merging, retention and reports: what grows?

`python -m benchmarks.soak [SECONDS]` (default 3600): requests over both transports, one in ten broken off in the
middle, segments of seconds, a bound in bytes that deletes them, `halo run` every two minutes. Memory, open files and
threads of all its processes are read every second; the median of the last quarter is compared with that of the second.
Exits 1 when one of them grew by more than a fifth, or when an acknowledged span was not accepted or loaded.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc

from tests.fixtures_receiver import EXPORT, RawHttp2, ReceiverProcess, eventually, post, trace_request

SETTINGS = {
    "HALO_STORE_ROTATE_SECONDS": "5",
    "HALO_STORE_RETENTION_BYTES": str(64 * 2**20),
    "HALO_STORE_MERGE_BYTES": str(8 * 2**20),
}
REQUESTS_A_SECOND = 40
SPANS = 20  # of a request, 2 KiB each
BROKEN = 10  # one request in so many
REPORT_SECONDS = 120.0
MAX_GROWTH = 1.2
SLACK = {"MiB": 20.0, "files": 10.0, "threads": 4.0}  # of small numbers a fifth is noise
Sample = dict[str, float]


def look(group: int) -> Sample:
    """Sum memory, open files and threads over the processes of a group."""
    total = dict.fromkeys(SLACK, 0.0)
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or os.getpgid(int(entry.name)) != group:
                continue
            status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines() if ":" in line)
            total["MiB"] += int(status["VmRSS"].split()[0]) / 1024
            total["threads"] += int(status["Threads"])
            total["files"] += len(os.listdir(entry / "fd"))
        except (OSError, KeyError):  # it has just ended
            continue
    return total


class Load:
    """Sends until it is told to stop; counts the spans that were acknowledged, and what was refused or broken off."""

    def __init__(self, receiver: ReceiverProcess) -> None:
        self._receiver = receiver
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.acknowledged = self.refused = self.broken = 0

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the request that is under way."""
        self._stop.set()
        self._thread.join(60)

    def _send(self) -> None:
        number = 0
        with grpc.insecure_channel(self._receiver.grpc) as channel:
            export = channel.unary_unary(EXPORT)
            while not self._stop.wait(1 / REQUESTS_A_SECOND):
                number += 1
                ids = [(number, span + 1) for span in range(SPANS)]
                body = trace_request(*ids, service=f"agent-{number % 7}", size=2048)
                if number % BROKEN == 0:
                    self._break_off(body)
                elif self._sent(export, body, over_grpc=number % 2 == 0):
                    self.acknowledged += SPANS
                else:
                    self.refused += 1

    def _sent(self, export: grpc.UnaryUnaryMultiCallable, body: bytes, *, over_grpc: bool) -> bool:
        if not over_grpc:
            headers = {"content_type": "application/x-protobuf"}
            return post(f"{self._receiver.http}/v1/traces", body, **headers)[0] == 200
        try:
            export(body, timeout=30)
        except grpc.RpcError:
            return False
        return True

    def _break_off(self, body: bytes) -> None:
        client = RawHttp2(self._receiver.grpc)
        client.begin(EXPORT, len(body), body[: len(body) // 2])
        client.socket.close()
        self.broken += 1


def run(data_dir: Path) -> int:
    """Make a report of the last five minutes; return its exit code."""
    command = [sys.executable, "-m", "halo_worker", "run", "--data-dir", str(data_dir), "--last", "5m"]
    return subprocess.run(command, capture_output=True, check=False).returncode


def main() -> int:
    """Load, look, compare."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0
    samples: list[Sample] = []
    reports: list[int] = []
    with tempfile.TemporaryDirectory(prefix="halo-soak-") as folder:
        receiver = ReceiverProcess(Path(folder, "data"), **SETTINGS)
        load = Load(receiver)
        try:
            load.start()
            began = time.monotonic()
            while (passed := time.monotonic() - began) < seconds:
                samples.append(look(receiver.process.pid))
                if passed > REPORT_SECONDS * (len(reports) + 1):
                    reports.append(run(receiver.data_dir))
                time.sleep(1)
            load.stop()
            stored = eventually(lambda: receiver.metric("halo_spool_backlog_bytes") == 0, seconds=120)
            lost = load.acknowledged - int(receiver.metric("halo_accepted_total"))
        finally:
            receiver.kill()
    quarter = len(samples) // 4
    grew = False
    for name, slack in SLACK.items():
        early, late = (
            statistics.median(sample[name] for sample in part)
            for part in (samples[quarter : 2 * quarter], samples[-quarter:])
        )
        more = late > early * MAX_GROWTH and late > early + slack
        grew |= more
        most = max(sample[name] for sample in samples)
        print(f"| {name} | {early:.0f} | {late:.0f} | {most:.0f} | {'GREW' if more else 'flat'} |")
    print(
        f"{seconds:.0f} s: {load.acknowledged:,} spans acknowledged, {lost:,} of them not accepted, {load.broken} "
        f"requests broken off, {load.refused} refused, {len(reports)} reports (exit codes {sorted(set(reports))})"
    )
    return 0 if stored and not lost and not grew and set(reports) <= {0} else 1


if __name__ == "__main__":
    sys.exit(main())
