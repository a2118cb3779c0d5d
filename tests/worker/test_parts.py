"""A window that is worked in parts says what the whole says, and what of it could not be read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_receiver.store.reader import Reader
from halo_worker import inputs
from halo_worker.analysis.detectors import DETECTORS, parts, run_detectors
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.window_counts import TABLES
from halo_worker.config import load_settings
from halo_worker.config_cluster import ClusterConfig
from halo_worker.errors import ConfigError, Interrupted
from halo_worker.parts import task
from halo_worker.parts.conductor import Limits, _worked, worked
from halo_worker.parts.engines import RETRIES, Local, opened
from halo_worker.parts.task import Part, PartFailed, Segments, Task, clean, versions
from tests.generator.fleet import fleet
from tests.generator.load import store
from tests.generator.strangers import strangers

LOCAL = ClusterConfig.model_validate({})


def of_the_fleet(traces: int) -> Iterator[Span]:
    for request, _ in fleet(traces, seed=3):
        yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans


def of_strangers(traces: int) -> Iterator[Span]:
    for spans, _ in strangers(traces, seed=3):
        yield from spans


def said(draft: Draft) -> list[str]:
    """All that a draft says but how long it took, as text."""
    findings = [{**asdict(found), "evidence": [one.model_dump() for one in found.evidence]} for found in draft.findings]
    rest = {name: getattr(draft, name) for name in ("traces_examined", "unsupported", "detectors_off", "not_examined")}
    return [json.dumps(one, default=str, sort_keys=True) for one in (*findings, rest, draft.engine.rules)]


def in_parts(segments: list[Path], of: int) -> Draft:
    with (
        worked(LOCAL, Segments(tuple(segments)), of, Limits()) as found,
        Reader(found.segments) as reader,
    ):
        assert not found.problems
        return run_detectors(reader, prepare=found.prepare)


def whole(segments: list[Path]) -> Draft:
    with Reader(segments) as reader:
        return run_detectors(reader)


def test_a_window_in_four_parts_says_what_the_whole_says(tmp_path: Path) -> None:
    segments = [store([*of_the_fleet(60), *of_strangers(40)], tmp_path)]
    expected = whole(segments)
    ran = {found.detector_name for found in expected.findings}
    apart = {unit.name for unit in DETECTORS if parts.separable(unit)}
    assert ran & apart, "no detector that runs in parts found anything"
    assert ran - apart, "no detector that takes traces together found anything"
    assert said(in_parts(segments, 4)) == said(expected)


def dies(number: int, folder: Path) -> Part:
    """A step that ends its process: of part 1 always, of part 2 the first time."""
    before = len(list(folder.glob(f"{number}-*")))
    if number == 1 or (number == 2 and not before):
        (folder / f"{number}-{before}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Part(folder, (), number, {})


def test_a_part_whose_process_dies_is_done_again_and_costs_no_other(tmp_path: Path) -> None:
    pool, told = Local(2), list[int]()
    try:
        found = pool.run(dies, {number: (number, tmp_path) for number in range(3)}, told.append)
    finally:
        pool.close("halo-parts-none")
    assert sorted(told) == [number for number, part in sorted(found.items()) if isinstance(part, Part)] == [0, 2]
    assert 1 <= len(list(tmp_path.glob("1-*"))) <= 1 + RETRIES


def waits(folder: Path) -> Part:
    """A step that never ends."""
    (folder / str(os.getpid())).touch()
    signal.pause()
    raise AssertionError


def test_a_run_that_is_asked_to_end_leaves_no_part_running(tmp_path: Path) -> None:
    """Ctrl-C comes to the processes of the pool too, which leave it to the run."""
    asked = list[int]()

    def interrupted() -> bool:
        for path in tmp_path.iterdir():
            os.kill(int(path.name), signal.SIGINT)
            asked.append(int(path.name))
        return len(asked) > 1

    with (
        pytest.raises(Interrupted, match=r"interrupted, with 0 of 3 parts of the window done: nothing is published"),
        opened(LOCAL, "halo-parts-none", 2, interrupted) as engine,
    ):
        engine.run(waits, dict.fromkeys(range(3), (tmp_path,)), lambda _: None)
    assert not [pid for pid in asked if Path(f"/proc/{pid}").exists()]


class WithoutTheSecond(Local):
    """Works parts in this process; the second cannot be worked by anybody."""

    def __init__(self) -> None:
        pass

    def run(self, step: Callable[..., Part], calls: Any, done: Callable[[int], None]) -> Any:
        away = {1: PartFailed("its worker died")} if step is task.work else {}
        return {number: away.get(number) or step(*arguments) for number, arguments in calls.items()}

    def close(self, name: str) -> None:
        clean(name)


def test_a_part_that_stays_away_is_said_and_the_others_are_judged(tmp_path: Path) -> None:
    segments = (store(of_the_fleet(12), tmp_path),)
    every = [Task("halo-parts-test", Segments(segments), number, 2, versions()) for number in range(2)]
    engine = WithoutTheSecond()
    try:
        found = _worked(engine, every, lambda _: None)
        with Reader(found.segments, only="hash(trace_id) % 2 = 0") as reader:
            draft = run_detectors(reader, prepare=found.prepare)
            here = reader.query("SELECT count(*) AS n FROM traces")[0]["n"]
    finally:
        engine.close("halo-parts-test")
    assert (0 < draft.traces_examined < 12, draft.traces_examined) == (True, here)
    assert len(found.problems) == 1
    assert re.fullmatch(r"part 2 of 2 of the window \(\d+ spans\) was not read: its worker died", found.problems[0]), (
        found.problems
    )


class LosesTables(WithoutTheSecond):
    """The host of the first part is gone when its tables are fetched, `times` times."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times, self.worked = folder, times, list[int]()

    def run(self, step: Callable[..., Part], calls: Any, done: Callable[[int], None]) -> Any:
        self.worked += calls if step is task.work else ()
        return {number: Part(self.folder / str(number), (), 1, {name: [] for name in TABLES}) for number in calls}

    def bring(self, part: Part, folder: Path) -> Path:
        if part.folder.name == "0" and self.times:
            self.times -= 1
            raise OSError("the worker went away")
        return part.tables


@pytest.mark.parametrize("times", [1, 1 + RETRIES])
def test_a_part_that_went_away_with_its_worker_is_worked_again(times: int, tmp_path: Path) -> None:
    every = [Task("halo-parts-lost", Segments(()), number, 2, versions()) for number in range(2)]
    engine = LosesTables(tmp_path, times)
    try:
        found = _worked(engine, every, lambda _: None)
    finally:
        engine.close("halo-parts-lost")
    assert engine.worked == [0, 1, *[0] * min(times, RETRIES)]
    lost = "part 1 of 2 of the window (1 spans) was not read: the worker went away"
    assert found.problems == ([lost] if times > RETRIES else [])


def test_a_worker_of_another_version_works_nothing() -> None:
    other = tuple((name, "0") for name, _ in versions())
    with pytest.raises(PartFailed, match=r"a worker has halo \S+ instead of 0, DuckDB \S+ instead of 0, schema"):
        task.count(Task("halo-parts-none", Segments(()), 0, 1, other))


@pytest.mark.parametrize("address", ["localhost:8786", "http://localhost:8786", "tcp://localhost", "tcp://:8786"])
def test_a_scheduler_is_an_address_of_dask(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected tcp://HOST:PORT or tls://HOST:PORT"):
        load_settings(environment={"HALO_CLUSTER_SCHEDULER": address})


@pytest.mark.long
@pytest.mark.parametrize("of", [4, 16, 64])
@pytest.mark.parametrize("spans", [of_the_fleet, of_strangers])
def test_both_fleets_say_the_same_in_any_number_of_parts(
    spans: Callable[[int], Iterator[Span]], of: int, tmp_path: Path
) -> None:
    segments = [store(spans(1000), tmp_path)]
    assert said(in_parts(segments, of)) == said(whole(segments))


@pytest.mark.long
@pytest.mark.parametrize("of", [4, 16, 64])
def test_planted_failures_are_the_same_in_any_number_of_parts(of: int, shared: Path, tmp_path: Path) -> None:
    script = shared / "benchmarks" / "planted-dev" / "planted.py"
    words = ["--seed", "7301", "--traces", "300", "--prevalence", "high", "--out", str(tmp_path)]
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"
    }  # it imports its parts
    subprocess.run([sys.executable, str(script), *words], env=environment, check=True, capture_output=True)
    file = str(tmp_path / "traces.otlp.jsonl")
    segments = inputs.write_segments([file], tmp_path / "s", now_ns=10**18, arrival="span-time").segments
    assert said(in_parts(segments, of)) == said(whole(segments))
