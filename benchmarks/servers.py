"""Processes under test: start them, know their CPU time and memory, stop them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """A process and its children."""

    def __init__(self, command: list[str], *, output: IO[str] | None = None) -> None:
        out, errors = (subprocess.PIPE, subprocess.DEVNULL) if output is None else (output, subprocess.STDOUT)
        self.process = subprocess.Popen(command, stdout=out, stderr=errors, text=True)
        self.address = ""

    def tree(self) -> list[int]:
        """Process ids: the process and all that descend from it."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far."""
        return sum(self.cpu_of_each())

    def cpu_of_each(self) -> list[float]:
        """The same for each process, the server first; time of children that have ended counts for their parent."""
        found = []
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found.append(sum(int(fields[at]) for at in (11, 12, 13, 14)) / _TICK)
        return found

    def memory_mib(self) -> list[int]:
        """Resident memory of each process."""
        sizes = []
        for pid in self.tree():
            with contextlib.suppress(OSError):
                sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE >> 20)
        return sizes

    def stop(self) -> None:
        """End it, with its drain."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NullServer(Server):
    """Receives and does nothing."""

    def __init__(self, *, inflate: bool = False) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.null_server", *(["--inflate"] if inflate else [])])
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()


class Receiver(Server):
    """`python -m halo_receiver` on a data directory of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        super().__init__(
            [
                sys.executable, "-m", "halo_receiver", "--data-dir", str(data_dir),
                "--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "off",
            ]
        )  # fmt: skip
        deadline = time.monotonic() + 60
        path = data_dir / "receiver.json"
        while not path.exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the receiver does not start")
            time.sleep(0.05)
        self.address = json.loads(path.read_text())["grpc"]

    def segments_bytes(self) -> int:
        """Size of all segments."""
        return sum(path.stat().st_size for path in (self.data_dir / "segments").glob("*.duckdb"))
