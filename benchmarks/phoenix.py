"""Arize Phoenix as a peer: its own process and interpreter, SQLite in a temporary directory, ports on loopback alone.

Phoenix acknowledges before it stores, so what counts is how many spans its database holds, and when.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

from benchmarks.servers import Server

START_SECONDS = 120
# Its gRPC server would listen on every interface.
_LAUNCH = """
import sys, grpc.aio._server as server
listen = server.Server.add_insecure_port
server.Server.add_insecure_port = lambda self, address: listen(self, "127.0.0.1:" + address.rpartition(":")[2])
from phoenix.server.main import main
sys.argv = ["phoenix", "serve"]
main()
"""


class Phoenix(Server):
    """`phoenix serve` of the environment that `python` belongs to."""

    def __init__(self, python: str, folder: Path) -> None:
        ports = _free_ports()
        self._database = folder / "phoenix.db"
        settings = {
            "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(ports[0]),
            "PHOENIX_GRPC_PORT": str(ports[1]), "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false", "PYTHONPATH": "",
        }  # fmt: skip
        with mock.patch.dict(os.environ, settings), (folder / "log").open("w") as log:
            super().__init__([python, "-c", _LAUNCH], output=log)
        self.address = f"127.0.0.1:{ports[1]}"
        self.url = f"http://127.0.0.1:{ports[0]}"
        deadline = time.monotonic() + START_SECONDS
        while not _listens(ports[0]) or not _listens(ports[1]):
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError(f"Phoenix does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)

    def stored(self) -> int:
        """Count the spans in its database."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as connection:
            (number,) = connection.execute("SELECT count(*) FROM spans").fetchone()
        return int(number)

    def wait_until_stored(self, spans: int, *, seconds: float) -> int:
        """Wait until its database holds so many, for some time at most; return how many it holds."""
        deadline = time.monotonic() + seconds
        while (there := self.stored()) < spans and time.monotonic() < deadline:
            time.sleep(0.2)
        return there


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def phoenix(python: str, folder: Path) -> Iterator[Phoenix]:
    """Phoenix, started and ended."""
    server = Phoenix(python, folder)
    try:
        yield server
    finally:
        server.stop()
