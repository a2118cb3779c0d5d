"""A page over a small data directory: three days of reports, some of them by strangers, and a few spans."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web

from halo_worker import inputs
from halo_worker.config import Settings, load_settings
from halo_worker.page.app import make_app
from halo_worker.page.server import listen
from halo_worker.page.traces import TRACES
from halo_worker.report import html, markdown
from halo_worker.report.archive import Archive
from halo_worker.report.page_data import SCENE_FILE
from tests.builders import everything, finding, flat_failures, poison, report
from tests.worker.report.test_pages import HOSTILE

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser")
STEADY, HOSTILE_ISSUE = "HALO-0000000a", "HALO-00000001"
HOSTILE_TEXT = "\n".join(HOSTILE)
HOSTILE_TRACE = quote(f"{0:031x}{HOSTILE[0]}", safe="")


@dataclass
class Served:
    """A page that runs on a thread of its own."""

    url: str
    data_dir: Path

    def client(self) -> httpx.Client:
        """A visitor, with cookies of their own and nothing asked before."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)


def token_in(text: str) -> str:
    """The token that the forms of a page send back."""
    return text.partition('data-token="')[2].partition('"')[0]


def reports_of(data_dir: Path) -> None:
    """Publish three days of a schedule; on the last one a stranger wrote the words of everything."""
    archive = Archive(data_dir / "reports")
    for day in range(3):
        made = report(finding(STEADY, traces=12 + day, text="tool calls time out"), day=day, schedule="daily")
        scene = None
        if day == 2:
            hostile, scene = everything(HOSTILE_TEXT)
            made = hostile.model_copy(update={
                "id": made.id, "window": made.window, "created_at": made.created_at, "schedule": "daily",
                "status": "complete",
                "totals": made.totals.model_copy(update={"by_agent": hostile.totals.by_agent}),
                "stopped_by": None, "answer": "plain",
                "findings": [*poison(hostile.findings, HOSTILE_TEXT), *made.findings],
            })  # fmt: skip
        documents = {"report.md": markdown.render_markdown(made), "report.html": html.render_html(made, scene)}
        if scene is not None:
            documents[SCENE_FILE] = scene.model_dump_json()
        archive.publish(made, documents)


def spans_of(data_dir: Path) -> None:
    """Import ten traces whose every text is markup."""
    file = data_dir / "spans.jsonl"
    file.write_text(flat_failures(HOSTILE[0]), encoding="utf-8")
    inputs.import_files([str(file)], data_dir, now_ns=time.time_ns(), arrival="now", say=lambda _: None)


@pytest.fixture(scope="session")
def serve_page() -> Iterator[Callable[..., Served]]:
    """Serve a data directory, under settings that are given, until the tests end."""
    stops: list[Callable[[], None]] = []

    def start(data_dir: Path, **sections: dict[str, Any]) -> Served:
        settings = load_settings(
            file=Path(os.devnull), environment={}, overrides={"store": {"data_dir": data_dir}, **sections}
        )
        url, stop = _started(settings)
        stops.append(stop)
        return Served(url, data_dir)

    yield start
    for stop in stops:
        stop()


def _started(settings: Settings) -> tuple[str, Callable[[], None]]:
    loop, ready = asyncio.new_event_loop(), threading.Event()
    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    options = ("--data-dir", str(settings.store.data_dir), "--config", os.devnull)
    runner = web.AppRunner(make_app(settings, port=port, options=options), access_log=None, shutdown_timeout=1)

    async def begin() -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        await runner.app[TRACES].made.wait()
        ready.set()

    def work() -> None:
        loop.run_until_complete(begin())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(60)

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)

    return f"http://127.0.0.1:{port}", stop


@pytest.fixture(scope="session")
def served(serve_page: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The page that most tests look at."""
    data_dir = tmp_path_factory.mktemp("page")
    reports_of(data_dir)
    spans_of(data_dir)
    return serve_page(data_dir)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, once a module: while it runs, playwright's event loop does, and other tests could start none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((name for name in CHROMIUM if Path(name).exists()), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        )
        yield started
        started.close()
