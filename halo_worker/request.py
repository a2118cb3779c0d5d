"""What a run is asked to do, and how it is asked again after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from halo_worker.analysis.work import Progress
from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.report.archive import new_run_id
from halo_worker.report.shared import Alone
from halo_worker.window import SECOND, Window

REQUEST_FILE = "request.json"
KEPT_NS = 14 * 86_400 * SECOND  # how long a run that did not end well can be gone on with
_ASKED = (
    "source",
    "local",
    "form",
    "prompt",
    "engine",
    "schedule",
    "services",
    "agents",
    "sinks",
    "settle",
    "remember",
    "memory",
)


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Request:
    """What one run is asked to do: a window of the store, or files. See contracts.md, section 2."""

    window: Window | None = None
    paths: tuple[str, ...] = ()
    source: str | None = None  # the name or address of another store, whose window it is
    local: bool = False  # the data directory, also where there is a lake
    form: str | None = None  # what wrote the files, where they are no trace files: one of `source.FORMS`
    prompt: str | None = None
    engine: str | None = None  # auto, detectors or rlm; None: as configured
    schedule: str | None = None
    services: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()
    settle: bool = False
    seal: bool = True
    unread: tuple[str, ...] = ()  # what is known beforehand not to be looked at
    out: Path | None = None
    recall: bool = True  # read the issue memory of the data directory
    remember: bool = False  # extend it, as every run of a schedule does
    memory: str | None = None  # of a run by hand: the schedule whose memory it reads; None: see `issues.scope_by_hand`
    resume: str | None = None
    shared: Alone | None = None  # of a worker: who is asked before the report counts
    telemetry: bool = False
    say: Callable[[str], None] = _silent
    progress: Callable[[Progress | str], None] = lambda _: None  # text: what is done beside turns


def work_root(current: Settings, request: Request) -> Path:
    """Return where runs keep what they need until they are published."""
    if request.recall or request.out is None:
        return current.store.data_dir / "runs"
    return request.out / ".runs"


def note_request(work_dir: Path, request: Request, window: Window) -> None:
    """Write down what was asked, so that `--resume` asks the same of the same window."""
    work_dir.mkdir(parents=True, exist_ok=True)
    asked = {
        "window": [window.start_ns, window.end_ns] if request.window else None,
        "paths": [str(Path(path).absolute()) if Path(path).exists() else path for path in request.paths],
        **{name: getattr(request, name) for name in _ASKED},
    }
    (work_dir / REQUEST_FILE).write_text(json.dumps(asked), encoding="utf-8")


def forget_old(root: Path, now_ns: int) -> None:
    """Remove what runs left behind that nobody went on with, by the time in their ids.

    Files carry the date of the kernel, which `now_ns` need not be.
    """
    oldest = new_run_id(now_ns - KEPT_NS)
    for file in root.glob(f"*/{REQUEST_FILE}"):
        if file.parent.name < oldest:
            shutil.rmtree(file.parent, ignore_errors=True)


def resumed(current: Settings, request: Request) -> Request:
    """Return the request of the run that is to go on, as it was made. Raises InputError when there is no such run."""
    roots = [current.store.data_dir / "runs", (request.out or Path("halo-reports")) / ".runs"]
    for root in roots:
        file = root / str(request.resume) / REQUEST_FILE
        if not request.resume or not file.is_file():
            continue
        outside = root.name == ".runs"
        try:
            asked: dict[str, Any] = orjson.loads(file.read_bytes())
            return replace(
                request,
                window=Window(*asked["window"]) if asked["window"] else None,
                paths=tuple(asked["paths"]),
                out=root.parent if outside else request.out,
                recall=not outside,
                seal=False,
                **_tuples(asked),
            )
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{file} is damaged: this run cannot go on", hint="start it anew") from None
    there = sorted(path.parent.name for root in roots for path in root.glob(f"*/{REQUEST_FILE}"))
    raise InputError(
        f"there is no run {request.resume} to go on with",
        hint=f"there are: {', '.join(there[-5:])}" if there else "runs that ended well are not kept",
    )


def _tuples(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(asked[name]) if isinstance(asked[name], list) else asked[name] for name in _ASKED if name in asked
    }
