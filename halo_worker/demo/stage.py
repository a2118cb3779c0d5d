"""`halo demo`: a receiver of its own, the fleet's traffic into it, an analysis a day, and a report to open."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from halo_receiver import child_processes
from halo_receiver.store.lock import DirectoryLock
from halo_worker import run as conductor
from halo_worker import segments_client
from halo_worker.config import Settings, load_settings
from halo_worker.demo.emit import Emitted, emit
from halo_worker.errors import HaloError, InputError
from halo_worker.report import terminal
from halo_worker.report.model import Report
from halo_worker.request import Request
from halo_worker.window import Window

DAY = 86_400_000_000_000
MARKER = "demo.json"  # what was planted; its presence says that the directory is a demo's and may be emptied
SETTINGS = "halo.toml"
SCHEDULE = "demo"  # as which its days are remembered
LOG = "receiver.log"
START_SECONDS = 60.0
STOP_SECONDS = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo ends with."""

    emitted: Emitted
    report: Report
    folder: Path

    @property
    def html(self) -> Path:
        """The report to open."""
        return self.folder / "report.html"


def show(data_dir: Path, *, now_ns: int, days: int = 5, traces_per_day: int = 400, seed: int = 7, say: Say) -> Shown:
    """Send `days` days of traffic to a receiver on `data_dir`, analyse each day in turn, and return the last report.

    Arrival is taken from the spans' own end, as if halo had run all these days. An earlier demo in `data_dir` is
    replaced; a directory with anything else in it is refused (InputError). Needs no model and no free well-known port.
    """
    settings = _prepare(data_dir)
    with _receiver(data_dir) as endpoint:
        say(f"receiver started on {endpoint}; sending {days} days of traffic through the OpenTelemetry SDK exporter")
        started = time.monotonic()
        emitted = emit(endpoint, now_ns=now_ns, days=days, traces_per_day=traces_per_day, seed=seed)
        sealed = segments_client.seal(data_dir, timeout=START_SECONDS)
        if not sealed.answered:
            raise HaloError(f"the demo's receiver did not seal: {sealed.reason}", hint=f"see {data_dir / LOG}")
        seconds = time.monotonic() - started
        say(f"{emitted.spans:,} spans of {emitted.traces:,} traces received and stored in {seconds:.1f} s")
    (data_dir / MARKER).write_bytes(orjson.dumps([asdict(mode) for mode in emitted.truth], option=orjson.OPT_INDENT_2))
    result: conductor.Result | None = None
    for ago in reversed(range(days)):
        window = Window(now_ns - (ago + 1) * DAY, now_ns - ago * DAY)
        say("analysing the last day" if ago == 0 else f"analysing the day {ago} day{'s' if ago > 1 else ''} before")
        result = conductor.run(
            settings,
            Request(window=window, engine="detectors", schedule=SCHEDULE, seal=False, say=say),
            now_ns=window.end_ns,
        )
    assert result is not None, "days is at least 1"
    return Shown(emitted, result.report, result.folder)


def describe(shown: Shown) -> str:
    """Write the first sentence, the causes and where to look, for a terminal."""
    data_dir = shown.folder.parent.parent
    halo = "halo" if shutil.which("halo") else Path(sys.executable).with_name("halo")
    return "\n".join(
        (
            terminal.summary(shown.report),
            "",
            f"Report   {shown.html.absolute()}",
            f"Look on  {halo} issues --data-dir {data_dir}",
            f"         {halo} traces --data-dir {data_dir}",
            f'         {halo} query --data-dir {data_dir} "SELECT agent_name, count(*) FROM spans GROUP BY 1"',
        )
    )


def _prepare(data_dir: Path) -> Settings:
    """Empty the directory of an earlier demo, and leave settings that nobody's halo.toml or environment can bend."""
    if data_dir.exists() and any(data_dir.iterdir()):
        if not (data_dir / MARKER).exists():
            raise InputError(
                f"{data_dir} holds something that is not an earlier demo",
                hint="name a directory that is empty or not there: halo demo --data-dir DIR",
            )
        for lock in sorted(data_dir.rglob("*.lock")):
            DirectoryLock(lock, "a demo").acquire().release()  # raises when someone works there
        for path in data_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / MARKER).write_text("[]\n")
    (data_dir / SETTINGS).write_text("# The demo runs on the defaults.\n")
    return load_settings(file=data_dir / SETTINGS, environment={}, overrides={"store": {"data_dir": data_dir}})


@contextmanager
def _receiver(data_dir: Path) -> Iterator[str]:
    """Run a receiver on a free loopback port, and stop it in order: it drains and seals."""
    words = ["--data-dir", str(data_dir), "--arrival", "span-time"]
    words += ["--config", str(data_dir / SETTINGS), "--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "off"]
    log = data_dir / LOG
    with log.open("wb") as talk:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the receiver in order.
        child = child_processes.start(
            "halo-receiver", "halo_receiver", *words,
            ends_by=signal.SIGTERM, stdout=talk, stderr=talk, start_new_session=True,
        )  # fmt: skip
    try:
        yield _endpoint(data_dir, child, log)
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _endpoint(data_dir: Path, child: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        address = segments_client.ReceiverAddress.read(data_dir)
        if address is not None and address.pid == child.pid and address.grpc:
            return address.grpc
        time.sleep(0.02)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise HaloError("the demo's receiver did not start: " + " / ".join(said), hint=f"all it said is in {log}")
