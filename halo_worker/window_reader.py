"""What a run analyses, opened: a window of the data directory, of the lake or of another store, or trace files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from halo_receiver.publishing import behind_ns
from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker import elsewhere, freshness, inputs
from halo_worker.analysis.detectors import Prepare
from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.parts.conductor import Limits, worked
from halo_worker.parts.task import Lake, Source, Table
from halo_worker.report.model import iso_nano
from halo_worker.request import Request
from halo_worker.window import SECOND, Window


class Opened(NamedTuple):
    """What is to be analysed. Where it was worked in parts, `prepare` makes its tables (`run_detectors`), and `sample`
    are segments with a fair share of its traces."""

    reader: Reader
    window: Window
    problems: list[str]
    prepare: Prepare | None = None
    sample: tuple[Path, ...] = ()


@contextmanager
def opened(
    current: Settings, request: Request, now_ns: int, *, interrupted: Callable[[], bool] = lambda: False
) -> Iterator[Opened]:
    """Open what is to be analysed, with the window it stands for and what could not be read.

    A window of the lake, or of another store, of more than `[cluster] part_spans` has been worked in parts by then.

    Raises InputError where there is no data directory.
    """
    options = {"memory_limit": f"{current.analysis.memory_limit_bytes}B", "threads": current.store.threads}
    if request.paths:
        source = _files(request, now_ns, options)
    elif request.source:
        source = _elsewhere(current, request, request.source, now_ns, options, interrupted)
    elif current.lake.on and not request.local:
        source = _lake(current, request, options, interrupted)
    else:
        source = _window(current, request, options, interrupted)
    with source as found:
        yield found


@contextmanager
def _files(request: Request, now_ns: int, options: dict[str, Any]) -> Iterator[Opened]:
    """The window is what the files span."""
    with tempfile.TemporaryDirectory(prefix="halo-") as folder:
        imported = inputs.write_segments(
            request.paths, Path(folder), now_ns=now_ns, arrival="span-time", form=request.form, step=request.progress
        )
        problems = [*imported.problems]
        if imported.rejected:
            problems.append(f"{imported.rejected} items have no usable ids and were left out")
        with Reader(imported.segments, **options) as reader:
            bounds = reader.query(
                "SELECT coalesce(epoch_ns(min(start_time)), 0) AS a, "
                "coalesce(epoch_ns(max(end_time)), 0) AS b FROM traces"
            )[0]
            yield Opened(reader, Window(bounds["a"], max(bounds["a"], bounds["b"]) + 1), problems)


@contextmanager
def _elsewhere(
    current: Settings,
    request: Request,
    source: str,
    now_ns: int,
    options: dict[str, Any],
    interrupted: Callable[[], bool],
) -> Iterator[Opened]:
    """Copy what another store holds of the window into segments of this run.

    A schedule's window is read as it was `settle_seconds` ago: what ended just now is still on its way there.
    """
    window = request.window
    assert window is not None
    late_ns = int(current.analysis.settle_seconds * SECOND) if request.settle else 0
    table, there = current.source(source), Window(window.start_ns - late_ns, window.end_ns - late_ns)
    count, problems = elsewhere.count(table, there), list[str]()

    def whole(folder: Path) -> list[Path]:
        copied = elsewhere.copy(table, there, folder, now_ns=now_ns, count=count, step=request.progress)
        problems.extend(elsewhere.left_out(copied.rejected))
        return copied.segments

    of = -(-count // current.cluster.part_spans)
    run = Run(current, request, window, options, interrupted)
    with _in_parts(run, Table(table, there, now_ns), of, whole, problems) as found:
        yield found


@contextmanager
def _lake(
    current: Settings, request: Request, options: dict[str, Any], interrupted: Callable[[], bool]
) -> Iterator[Opened]:
    """Pull what of the window is in the lake into segments of this run, and say which receivers are behind.

    A span is seen up to `publish_seconds` after it arrived, so that a trace is quiet that much later.
    """
    from halo_receiver.store import lake_reader  # and DuckLake with it, which only a lake needs

    window = request.window
    assert window is not None
    late = int(current.lake.publish_seconds * SECOND)
    settle = None
    if request.settle:
        settle = Settle(
            int(current.analysis.settle_seconds * SECOND) + late,
            int(current.analysis.settle_max_seconds * SECOND) + late,
        )
    wanted = lake_reader.Span(window.start_ns, window.end_ns, settle)
    found = lake_reader.look(current.lake, wanted)
    problems = [
        f"receiver {one.host} ({one.data_dir}) has published up to {iso_nano(one.published_until_ns)}"
        for one in found.receivers
        if one.published_until_ns < window.end_ns - behind_ns(current.lake)
    ]
    reached = min((one.published_until_ns for one in found.receivers), default=window.end_ns)
    if not problems and reached < window.end_ns:
        request.say(f"the lake holds what arrived before {iso_nano(reached)}; later spans are published soon")
    of = -(-found.spans // current.cluster.part_spans)
    of = found.even(of) if of > 1 else 1

    def whole(folder: Path) -> list[Path]:
        return lake_reader.pull(current.lake, wanted, folder, found=found, **options).segments

    run = Run(current, request, window, options, interrupted)
    with _in_parts(run, Lake(current.lake, wanted.start_ns, wanted.end_ns, settle), of, whole, problems) as opened_:
        yield opened_


class Run(NamedTuple):
    """What is asked of a window, and what it may use."""

    current: Settings
    request: Request
    window: Window
    options: dict[str, Any]
    interrupted: Callable[[], bool]


@contextmanager
def _in_parts(
    run: Run, source: Source, of: int, whole: Callable[[Path], list[Path]], problems: list[str]
) -> Iterator[Opened]:
    """Open a window that is elsewhere: worked in `of` parts, or copied whole into a folder."""
    current, request, window, options, interrupted = run
    only = queries.only(services=request.services, agents=request.agents)
    with ExitStack() as stack:
        segments, prepare = [], None
        if of > 1:
            limits = Limits(current.analysis.memory_limit_bytes, current.store.threads)
            parts = stack.enter_context(
                worked(
                    current.cluster, source, of, limits, only=only, mute=frozenset(current.detectors.mute),
                    step=request.progress, interrupted=interrupted,
                )
            )  # fmt: skip
            segments, prepare = parts.segments, parts.prepare
            problems += parts.problems
        if not segments:
            segments = whole(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="halo-"))))
        reader = stack.enter_context(Reader(segments, only=only, **options))
        fair = max(1, len(segments) // of) if of > 1 else 0  # each segment holds the traces of a hash part
        yield Opened(reader, window, list(dict.fromkeys(problems)), prepare, tuple(segments[:fair]))


@contextmanager
def _window(
    current: Settings, request: Request, options: dict[str, Any], interrupted: Callable[[], bool]
) -> Iterator[Opened]:
    window = request.window
    assert window is not None
    data_dir = current.store.data_dir
    if not data_dir.is_dir():
        raise InputError(
            f"there is no data directory {data_dir}",
            hint="'halo up' or 'halo import' make one; --data-dir names another",
        )
    problems: list[str] = []
    if request.seal:
        problems += freshness.refresh(current, load=True, say=request.say, interrupted=interrupted).problems
    settle = None
    if request.settle:
        settle = Settle(
            int(current.analysis.settle_seconds * SECOND), int(current.analysis.settle_max_seconds * SECOND)
        )
    with Reader.open(
        data_dir,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        whole_traces=True,
        settle=settle,
        only=queries.only(services=request.services, agents=request.agents),
        **options,
    ) as reader:
        problems += [f"segment {item.path.name} could not be read: {item.reason}" for item in reader.set_aside]
        yield Opened(reader, window, problems)
