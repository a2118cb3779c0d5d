"""A deletion from its choice to its end: planned on disk first, so that one that was killed is finished by the next.

Nothing may run on the directory meanwhile: the receiver's and the worker's locks are held. What is acknowledged and
waits is loaded before, so that it is in segments, and the spool's files can go.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from halo_receiver import backlog, spool, spool_files
from halo_receiver.store import deletion, tombstones
from halo_receiver.store.deletion import Chosen, Selection
from halo_receiver.store.disk import write_durably
from halo_receiver.store.lock import DirectoryLock
from halo_receiver.store.segment import listed
from halo_worker import freshness, issues
from halo_worker.config import Settings
from halo_worker.deletion.cleaning import cleaned, touches
from halo_worker.errors import DirectoryInUse, InputError, ReportError
from halo_worker.report import briefs, html, markdown
from halo_worker.report.archive import REPORT_FILE
from halo_worker.report.headline import headline
from halo_worker.report.labelled import LABELS_FILE
from halo_worker.report.model import Report
from halo_worker.report.page_data import SCENE_FILE, Scene
from halo_worker.report.record import read_lines

PLAN_FILE = "deleting.json"  # in segments/: of a deletion that is not over
RECORDS = ("reports/decisions.jsonl", "reports/verifications.jsonl", "alerts/alerts.jsonl")
DERIVED = ("runs", "cache")  # what models were shown and answered: nothing of it is needed again
_HINT = "stop 'halo up', 'halo receive' and 'halo work', delete, and start again: clients retry meanwhile"


@dataclass(frozen=True, slots=True)
class Found:
    """What a deletion would remove. `kept`: files of what could not be loaded, which nobody can look into.

    `lake`: what of it is in the lake, where there is one; spans that this host keeps as well are in both.
    """

    chosen: Chosen
    reports: tuple[str, ...]
    kept: int
    lake: Chosen | None = None


def look(current: Settings, selection: Selection) -> Found:
    """Say what a deletion is about, changing nothing."""
    options = _options(current)
    chosen = deletion.choose(current.store.data_dir, selection, **options)
    in_lake = None
    if current.lake.on:
        from halo_worker import lake  # and DuckLake with it, which only a lake needs

        in_lake = lake.chosen(current, selection)
        chosen = replace(chosen, traces=chosen.traces | in_lake.traces)
    words = _words(selection)
    issues.archive(current, at_once=True)  # with what other hosts of a lake reported
    reports = [
        path.parent.name
        for path in sorted(current.store.data_dir.glob(f"*/*/{REPORT_FILE}"))
        if touches(_read(path), chosen.traces, words)
    ]
    return Found(chosen, tuple(reports), len(_kept(current.store.data_dir)), in_lake)


def delete(current: Settings, selection: Selection, *, now_ns: int, say: Callable[[str], None]) -> Found:
    """Delete, and finish a deletion that was interrupted. Raises DirectoryInUse where anything runs."""
    data_dir = current.store.data_dir
    with _alone(current, say):
        for waiting in filter(None, (_planned(data_dir), selection)):
            found = look(current, waiting)
            _carry_out(current, waiting, found, now_ns)
    return found


@contextmanager
def _alone(current: Settings, say: Callable[[str], None]) -> Iterator[None]:
    data_dir = current.store.data_dir
    try:
        with DirectoryLock(data_dir / "reports" / "worker.lock", "a deletion"):
            with DirectoryLock(backlog.writer_lock(data_dir), "a deletion"):
                pass  # nobody receives: what waits can be loaded
            freshness.refresh(current, load=True, say=say)
            with DirectoryLock(backlog.writer_lock(data_dir), "a deletion"):
                if waiting := backlog.waiting(data_dir):
                    raise InputError(f"nothing was deleted: {waiting}", hint=freshness.REMEDY)
                yield
    except DirectoryInUse as error:
        raise InputError(f"nothing was deleted: {error}", hint=_HINT) from None


def _carry_out(current: Settings, selection: Selection, found: Found, now_ns: int) -> None:
    data_dir = current.store.data_dir
    segments, plan = data_dir / "segments", data_dir / "segments" / PLAN_FILE
    earlier = _read(plan) or {}
    traces = found.chosen.traces | set(earlier.get("traces", []))
    reports = sorted({*found.reports, *earlier.get("reports", [])})
    planned = {"selection": asdict(selection), "traces": sorted(traces), "reports": reports}
    write_durably(plan, json.dumps(planned).encode())
    if selection.before_ns is None:
        tombstones.add(segments, traces, now_ns=now_ns)
    _clean_reports(current, traces, _words(selection))
    _clean_shared(current, reports, traces, _words(selection))
    for name in DERIVED:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    deletion.delete(segments, selection, traces, **_options(current))
    numbers = spool.file_numbers(data_dir / "spool")
    if numbers:
        spool_files.drop_loaded(data_dir / "spool", spool.Position(numbers[-1] + 1, 0))
    for path in _kept(data_dir):
        path.unlink(missing_ok=True)
    if current.lake.on:
        from halo_worker import lake

        lake.delete(current.lake, selection, traces)
    plan.unlink()


def _planned(data_dir: Path) -> Selection | None:
    """Return what an interrupted deletion was about."""
    plan = _read(data_dir / "segments" / PLAN_FILE)
    return Selection(**plan["selection"]) if plan else None


def _kept(data_dir: Path) -> list[Path]:
    """Return what is kept for a person because it could not be loaded or read."""
    aside = data_dir / "spool" / "set-aside"
    return [
        *(sorted(aside.iterdir()) if aside.is_dir() else ()),
        *listed(data_dir / "segments", "broken"),
        *sorted((data_dir / "segments").glob("*.broken.wal")),
        *sorted((data_dir / "incoming").glob("*.broken")),
    ]


def _clean_reports(current: Settings, traces: frozenset[str] | set[str], words: list[str]) -> None:
    """Take what reports, alerts and records tell of the traces out of them, and what was made of reports with it."""
    data_dir = current.store.data_dir
    for path in sorted(data_dir.glob(f"*/*/{REPORT_FILE}")):
        document = _read(path)
        if document is None or not touches(document, traces, words):
            continue
        again = cleaned(document, traces, words)
        for name in (SCENE_FILE, "trajectory.jsonl"):
            (path.parent / name).unlink(missing_ok=True)
        shutil.rmtree(path.parent / briefs.BRIEFS, ignore_errors=True)
        with contextlib.suppress(ValueError):  # of a later build, or damaged: its pages go, its JSON is clean
            report = Report.model_validate(again)
            if not report.alert:
                report = report.model_copy(update={"headline": ""})
                report = report.model_copy(update={"headline": headline(report)})
            again = json.loads(report.to_json())
            _render(current, path.parent, report)
        write_durably(path, (json.dumps(again, ensure_ascii=False, indent=2) + "\n").encode())
    for name in RECORDS:
        _clean_record(data_dir / name, traces, words)
    for path in sorted(data_dir.glob(f"*/*/{LABELS_FILE}")):
        _drop_labels(path, traces, words)
    archive = issues.archive(current)
    if (archive.directory / "index.html").exists():
        known = issues.open_memory(archive)
        archive.write_beside("index.html", html.render_index(archive.reports()[0], known.issues.values()))


def _render(current: Settings, folder: Path, report: Report) -> None:
    pages = {
        "report.md": markdown.render_markdown(report, links=current.links, folder=folder.absolute()),
        "report.html": html.render_html(
            report, Scene(), index="../index.html", links=current.links, folder=folder.absolute()
        ),
    }
    for name, text in pages.items():
        if (folder / name).exists():
            write_durably(folder / name, text.encode())
    written = {} if report.alert else briefs.files(report.findings)
    for name, text in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_durably(folder / name, text.encode())


def _clean_shared(current: Settings, reports: list[str], traces: Collection[str], words: list[str]) -> None:
    """Let the other hosts of a lake have reports and records as they are here now."""
    shared = issues.archive(current).shared
    for name in reports:
        shared.replaced(name)
    for name in RECORDS:
        shared.rewritten(Path(name).name, lambda line: _cleaned_line(line.encode(), traces, words).decode())


def _clean_record(path: Path, traces: frozenset[str] | set[str], words: list[str]) -> None:
    try:
        lines = read_lines(path)
    except ReportError:
        return
    made = [_cleaned_line(line, traces, words) for line in lines]
    if made != lines:
        write_durably(path, b"\n".join(made))


def _cleaned_line(line: bytes, traces: Collection[str], words: list[str]) -> bytes:
    try:
        item = json.loads(line)
    except ValueError:
        return b"" if any(word.encode() in line for word in words) else line
    if not touches(item, traces, words):
        return line
    return json.dumps(cleaned(item, traces, words), ensure_ascii=False).encode()


def _drop_labels(path: Path, traces: frozenset[str] | set[str], words: list[str]) -> None:
    """Drop what a model said of the traces: its words may be theirs."""
    lines = path.read_bytes().split(b"\n")
    gone = [one.encode() for one in (*traces, *words)]
    kept = [line for line in lines if not any(one in line for one in gone)]
    if kept != lines:
        write_durably(path, b"\n".join(kept))


def _words(selection: Selection) -> list[str]:
    return [word for word in (selection.user, selection.session) if word]


def _options(current: Settings) -> dict[str, Any]:
    return {"memory_limit": f"{current.analysis.memory_limit_bytes}B", "threads": current.store.threads}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
