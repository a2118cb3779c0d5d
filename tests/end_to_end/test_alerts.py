"""An alert of a real worker, over HTTP: `kill -9` while its message is on the way."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from halo_worker.alerts.journal import Journal, Look, episodes
from halo_worker.window import SECOND
from tests.end_to_end.conftest import Halo, Service, eventually
from tests.worker.analysis.windows import write
from tests.worker.test_alerts import lines

TOML = """
[analysis]
settle_seconds = 0
[worker]
metrics_endpoint = "off"
[sinks.hook]
type = "webhook"
url = "http://127.0.0.1:{port}/"
[alerts.broken]
when = "new"
every = "1m"
window = "1m"
sinks = ["hook"]
"""


class Hook:
    """An endpoint that leaves its callers without an answer until it is told to answer."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.answers = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                hook.keys.append(self.headers["Idempotency-Key"])
                hook.answers.wait(60)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.answers.set()
    made.server.shutdown()
    made.server.server_close()


def test_a_worker_that_is_killed_while_it_delivers_sends_the_same_message_once_more_and_no_other(
    halo: Halo, serve: Callable[..., Service], hook: Hook
) -> None:
    (halo.directory / "halo.toml").write_text(TOML.format(port=hook.port))
    now = time.time_ns()
    halo("import", str(write(lines(now - 5 * SECOND, 5), halo.directory / "traces.jsonl")))
    journal = Journal(halo.data_dir / "alerts")
    journal.append(Look("broken", now - 3600 * SECOND, now - 120 * SECOND, 40))
    first = serve("work")
    eventually(lambda: hook.keys, what=lambda: f"the message is on its way: {first.said}")
    first.stop(signal.SIGKILL)
    hook.answers.set()
    second = serve("work")
    eventually(lambda: len(hook.keys) > 1, what=lambda: f"it is sent once more: {second.said}")
    eventually(lambda: "delivery done" in second.said, what=lambda: second.said)
    assert "1 watched, 1 episode open" in halo("status")
    assert second.stop() == 0
    assert len(set(hook.keys)) == 1
    assert len(episodes(journal.read())) == 1
