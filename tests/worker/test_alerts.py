"""Alerts between reports: what begins an episode, what ends it, and what a kill in between may not repeat or lose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.backlog import Backlog
from halo_receiver.store.reader import Reader
from halo_worker import inputs, issues, run, segments_client
from halo_worker.alerts import eligible, sealed, watch
from halo_worker.alerts.conditions import Known, decide
from halo_worker.alerts.journal import Event, Journal, Look, alerts_dir, episodes, shortened
from halo_worker.alerts.sealed import Sealing
from halo_worker.alerts.standing import of_one
from halo_worker.alerts.watch import Watch
from halo_worker.analysis.detectors import DETECTORS, Unit, examples, trial
from halo_worker.config import Settings, load_settings
from halo_worker.config_alerts import AlertConfig
from halo_worker.delivery.courier import Courier
from halo_worker.errors import ConfigError
from halo_worker.report.archive import Archive
from halo_worker.report.comparison import Counts
from halo_worker.report.decisions import Decisions
from halo_worker.report.model import iso_nano
from halo_worker.request import Request
from halo_worker.window import SECOND, Window
from tests.worker.analysis.windows import write
from tests.worker.conftest import Halo
from tests.worker.parts_of_examples import hits_of_parts

MINUTE, HOUR = 60, 3600
BEGAN = 1_795_413_600  # 2026-11-23 06:00 UTC
ERRORS = {"refund": "Read timed out", "export": "deadline exceeded while the spreadsheet was made"}
TOML = """
[sinks.out]
type = "file"
path = "{out}"
[alerts.{name}]
when = "{when}"
sinks = ["out"]
{more}
"""


def settings(folder: Path, when: str, more: str = "", *, name: str = "broken", sink: str = "") -> Settings:
    (folder / "halo.toml").write_text(TOML.format(out=folder / "out", name=name, when=when, more=more) + sink)
    return load_settings(file=folder / "halo.toml", environment={}, overrides={"store": {"data_dir": folder / "data"}})


def traffic(data_dir: Path, at: int, failing: int, *, traces: int = 40, tool: str = "refund") -> None:
    """Put traces into the store that end at a time, in seconds after BEGAN; the first of them fail."""
    folder = data_dir.parent / "files"
    folder.mkdir(exist_ok=True)
    file = write(lines(nano(at), failing, traces, tool), folder / f"{at}-{tool}.jsonl")
    inputs.import_files([str(file)], data_dir, now_ns=nano(at), arrival="span-time", say=lambda _: None)


def lines(at_ns: int, failing: int, traces: int = 40, tool: str = "refund") -> Iterator[dict[str, Any]]:
    """The flat lines of traces that end at a time."""
    for number in range(traces):
        trace = f"{at_ns // SECOND:012x}{sum(map(ord, tool)):04x}{number:016x}"
        said = ERRORS[tool] if number < failing else ""
        yield _span(trace, 0, at_ns, name="agent", kind="AGENT", tool="")
        yield _span(trace, 1, at_ns, name=tool, kind="TOOL", tool=tool, error=said)


def _span(trace: str, number: int, at_ns: int, *, name: str, kind: str, tool: str, error: str = "") -> dict[str, Any]:
    attributes = {"openinference.span.kind": kind, "output.value": "" if error else "done", "agent.name": "shop-agent"}
    return {
        "trace_id": trace, "span_id": f"{trace[-14:]}{number:02x}", "name": name, "kind": "SPAN_KIND_INTERNAL",
        "parent_span_id": "" if number == 0 else f"{trace[-14:]}00",
        "start_time": iso_nano(at_ns - SECOND), "end_time": iso_nano(at_ns),
        "status": {"code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK", "message": error},
        "resource": {"attributes": {"service.name": "shop"}}, "scope": {"name": "test", "version": "1"},
        "attributes": attributes | ({"tool.name": tool} if tool else {}),
    }  # fmt: skip


def nano(at: int) -> int:
    return (BEGAN + at) * SECOND


class Worker:
    """A worker's alerts, with a clock that a test sets."""

    def __init__(self, current: Settings) -> None:
        self.current = current
        self.now = nano(0)
        self.said: list[str] = []
        self.watch = Watch(current, clock=lambda: self.now, say=lambda what, **_: self.said.append(what))

    def at(self, *seconds: int) -> Worker:
        for second in seconds:
            self.now = nano(second)
            self.watch.turn()
        return self

    @property
    def sent(self) -> list[dict[str, Any]]:
        """What the file sink has, oldest first."""
        found = (json.loads(path.read_text()) for path in (self.current.store.data_dir.parent / "out").glob("*.json"))
        return sorted(found, key=lambda one: (one["created_at"], one["id"]))

    @property
    def said_in(self) -> list[tuple[str, str]]:
        return [(one["alert"]["what"], one["headline"]) for one in self.sent]


def test_a_tool_that_breaks_is_told_once_with_evidence_and_once_when_it_works_again(tmp_path: Path) -> None:
    current = settings(tmp_path, "rate", 'every = "10m"\ncooldown = "30m"\nwindow = "20m"')
    data = current.store.data_dir
    traffic(data, 0, 0, traces=200)
    for at in (80, 100, 140):
        traffic(data, at * MINUTE, 10 if at < 120 else 0)
    worker = Worker(current).at(*(at * MINUTE for at in (10, 70, 90, 110, 150, 160)))
    assert [what for what, _ in worker.said_in] == ["opened", "over"]
    first, last = worker.sent
    [finding] = first["findings"]
    assert (finding["detector"]["name"], finding["state"]) == ("error_timeout", "worsening")
    assert [one["quote"] for one in finding["evidence"]] == [ERRORS["refund"]] * 3
    assert first["headline"] == (
        "refund times out: 10 of 40 traces in 20m (25 %), against 0 of 200 traces before (0.0 %)."
    )
    assert last["headline"] == "over: refund times out: none of 40 traces since 2026-11-23 07:49 UTC, after 20.0 min."
    assert (last["findings"][0]["state"], last["alert"]["episode"]) == ("resolved", first["id"])
    looked = Journal(alerts_dir(current)).read()
    assert sum(look.of for look in looked) == 320  # each trace once
    assert all(before.end_ns == after.start_ns for before, after in pairwise(looked))
    assert episodes(looked)[0].over is not None


def test_what_a_report_knows_is_not_new_and_what_was_resolved_is_told_when_it_is_back(tmp_path: Path) -> None:
    """Nor are traces told that began before the resolution."""
    more = '[alerts.back]\nwhen = "regressed"\nevery = "10m"\nsinks = ["out"]\n'
    current = settings(tmp_path, "new", 'every = "10m"\n' + more)
    data = current.store.data_dir
    traffic(data, 0, 5)
    report = run.run(current, _by_hand(0, 10 * MINUTE), now_ns=nano(10 * MINUTE)).report
    [issue_id] = [one.issue_id for one in report.findings if one.detector and one.detector.name == "error_timeout"]
    Decisions(issues.reports_dir(current)).append(issue_id, "resolve", now_ns=nano(20 * MINUTE))
    traffic(data, 19 * MINUTE, 5)
    traffic(data, 20 * MINUTE - 5, 5, tool="export")
    worker = Worker(current).at(30 * MINUTE)
    assert [says for _, says in worker.said_in] == ["new: export times out: 5 of 80 traces in 1h (6.2 %)."]
    traffic(data, 32 * MINUTE, 1)
    worker.at(40 * MINUTE, 50 * MINUTE)
    assert worker.said_in[1:] == [
        ("opened", "back: refund times out: 1 of 120 traces in 1h (0.8 %); resolved 2026-11-23 06:20 UTC.")
    ]


def _by_hand(start: int, end: int) -> Request:
    return Request(window=Window(nano(start), nano(end)), remember=True, seal=False)


# ----------------------------------------------------------------------------------------------------------- crashes


@pytest.fixture
def breaking(tmp_path: Path) -> Settings:
    """A directory that was looked at for 80 minutes, in which something new has broken since."""
    current = settings(tmp_path, "new", 'every = "10m"')
    (tmp_path / "data").mkdir()
    for at in range(1, 9):
        Journal(alerts_dir(current)).append(Look("broken", nano((at - 1) * 600), nano(at * 600), 40))
    traffic(current.store.data_dir, 85 * MINUTE, 5)
    return current


@pytest.fixture(scope="module")
def decided_once(tmp_path_factory: pytest.TempPathFactory) -> list[Look]:
    """What a look comes to in which an episode begins."""
    current = breaking.__wrapped__(tmp_path_factory.mktemp("once"))  # type: ignore[attr-defined]
    Worker(current).at(90 * MINUTE)
    return Journal(alerts_dir(current)).read()[-1:]


@pytest.mark.parametrize(
    ("owner", "name", "first"),
    [
        (Journal, "append", False), (Journal, "append", True), (Archive, "publish", True),
        (Courier, "deliver", True),
    ],
)  # fmt: skip
def test_a_kill_between_any_two_steps_repeats_no_message_and_loses_none(
    tmp_path: Path, decided_once: list[Look], monkeypatch: pytest.MonkeyPatch, owner: type, name: str, first: bool
) -> None:
    """The process dies before a look is recorded, or after that, after its message was published, or delivered."""
    current = settings(tmp_path, "new", 'every = "10m"')
    (tmp_path / "data" / "segments").mkdir(parents=True)
    left = [decided_once] if first else [decided_once, decided_once]
    monkeypatch.setattr(watch, "decided", lambda *_: left.pop() if left else [])
    real: Callable[..., Any] = getattr(owner, name)

    def dies(*given: Any, **options: Any) -> None:
        if first:
            real(*given, **options)
        raise SystemExit

    with monkeypatch.context() as killed:
        killed.setattr(owner, name, dies)
        with pytest.raises(SystemExit):
            Worker(current).at(90 * MINUTE)
    worker = Worker(current)
    worker.now = nano(92 * MINUTE)
    worker.watch.recover()
    worker.at(92 * MINUTE, 100 * MINUTE)
    assert [what for what, _ in worker.said_in] == ["opened"]
    assert len(episodes(Journal(alerts_dir(current)).read())) == 1


def test_a_line_that_a_crash_tore_is_looked_at_again_and_its_message_is_the_same(
    tmp_path: Path, decided_once: list[Look]
) -> None:
    journal = Journal(tmp_path)
    journal.append(look(1))
    journal.append(decided_once[0])
    journal.path.write_bytes(journal.path.read_bytes()[:-400])
    assert journal.read() == [look(1)]
    journal.append(decided_once[0])
    assert journal.read() == [look(1), *decided_once]


# ------------------------------------------------------------------------------------------------------- conditions


def look(end: int, found: int = 0, of: int = 100, *, issue: str = "A", **more: Any) -> Look:
    """A look of five minutes; `end` counts them."""
    return Look("x", (end - 1) * 300 * SECOND, end * 300 * SECOND, of, {issue: found} if found else {}, **more)


def alert(**given: Any) -> AlertConfig:
    return AlertConfig.model_validate({"when": "rate", **given})


def test_a_rise_is_told_only_where_the_numbers_show_it() -> None:
    quiet = [look(end, 1 if end % 10 == 0 else 0) for end in range(1, 300)]
    assert decide(alert(), quiet, look(300, 3), Known()).holds == []
    [found] = decide(alert(), quiet, look(300, 30), Known()).begins
    assert found.before is not None
    assert (found.counted.traces, found.before.of, found.p_value is not None and found.p_value < 1e-6) == (
        31, 288 * 100, True,
    )  # fmt: skip


def test_without_a_baseline_nothing_is_said_and_the_last_reports_can_be_one() -> None:
    assert decide(alert(), [], look(1, 30), Known()).begins == []
    reported = Known(issues={"A"}, reported={"A": Counts(5, 1000)}, whole=Counts(0, 1000))
    [found] = decide(alert(), [], look(1, 30), reported).begins
    assert found.before == Counts(5, 1000)


def test_an_episode_goes_on_while_nothing_arrives_and_ends_after_a_day() -> None:
    began = Event("opened", "e", "A", 300 * 300 * SECOND, "says", before=Counts(0, 1000))
    past = [look(end) for end in range(1, 300)] + [look(300, 30, holds=("A",), events=(began,))]
    silent = [look(end, of=0) for end in range(301, 700)]
    assert decide(alert(window="5m"), [*past, *silent[:100]], silent[100], Known()).ends == []
    [ended] = decide(alert(window="5m"), [*past, *silent[:287]], silent[287], Known()).ends
    assert ended.since == Counts(0, 0)


def test_the_first_window_of_an_empty_directory_is_learned_and_what_muted_is_not_told() -> None:
    """All of it would be new."""
    new = alert(when="new", window="10m")
    assert decide(new, [look(1, 5)], look(2, 5), Known()).begins == []
    past = [look(1, 5), look(2, 5), look(3)]
    assert [one.issue_id for one in decide(new, past, look(4, 5, issue="B"), Known()).begins] == ["B"]
    assert decide(new, past, look(4, 5), Known()).begins == []
    assert decide(new, past, look(4, 2, issue="B"), Known()).begins == []
    assert decide(new, [*past, look(4, 2, issue="B")], look(5, 1, issue="B"), Known()).begins != []
    assert decide(new, past, look(4, 5, issue="B"), Known(silenced={"B"})).begins == []
    early = Look("x", 900 * SECOND, 1200 * SECOND, 0, {}, {"B": 3})
    assert [one.issue_id for one in decide(new, past, early, Known()).begins] == ["B"]


def test_an_old_record_is_shortened_and_keeps_how_far_it_looked() -> None:
    day = 288
    began = Event("opened", "e", "A", 300 * SECOND, "says")
    looks = [look(1, 3, events=(began,)), *(look(end) for end in range(2, 30 * day))]
    kept = shortened(looks, 30 * day * 300 * SECOND)
    assert (kept[0].events, kept[-1]) == ((began,), looks[-1])
    assert len(kept) == 14 * day + 1


# ---------------------------------------------------------------------------------------------------- what can alert


def test_a_look_finds_what_a_report_finds_of_the_same_rules(tmp_path: Path) -> None:
    """It makes fewer tables, and some of their columns are empty."""
    usable = list(eligible.built_in().values())
    segment, _ = examples.stored(DETECTORS, tmp_path)

    def found(only: list[Unit] | None) -> set[tuple[str, str, str, str]]:
        with Reader([segment], in_memory=only is not None) as reader:
            trial.prepare(reader, only)
            for unit in usable:
                trial.insert(reader, unit)
            rows = reader.query("SELECT detector, key, trace_id, span_id FROM _hits")
        return {tuple(row.values()) for row in rows}  # type: ignore[misc]

    whole = found(None)
    assert {row[0] for row in whole} == eligible.built_in().keys()
    assert found(usable) == whole


def compared(folder: Path, rule: str) -> Worker:
    return Worker(settings(folder, "new", f'every = "10m"\nwindow = "30m"\nrules = ["{rule}"]'))


def arrives(worker: Worker, at: int, traces: int, answer: str = "done", seconds: int = 1, silent: int = 0) -> None:
    """Store traces of one model call that end at a minute, the first of them silent; look when they have settled."""
    rows, end = [], nano(at * MINUTE)
    for number in range(traces):
        trace = f"{end // SECOND:016x}{number:016x}"
        model = _span(trace, 1, end, name="chat", kind="LLM", tool="")
        model["attributes"] = {"openinference.span.kind": "LLM"} | (
            {"output.value": answer} if answer and number >= silent else {}
        )
        model["start_time"] = iso_nano(end - seconds * SECOND)
        rows += [_span(trace, 0, end, name="agent", kind="AGENT", tool=""), model]
    data = worker.current.store.data_dir
    file = str(write(iter(rows), data.parent / f"{at}.jsonl"))
    inputs.import_files([file], data, now_ns=end, arrival="span-time", say=lambda _: None)
    worker.at((at + 6) * MINUTE)


def reported(worker: Worker, until: int) -> None:
    """Publish a report of the minutes until then, and take away what it read."""
    run.run(worker.current, _by_hand(0, until * MINUTE), now_ns=nano(until * MINUTE))
    for segment in (worker.current.store.data_dir / "segments").glob("*.duckdb"):
        segment.unlink()


def test_a_rule_that_compares_traces_compares_new_ones_with_the_last_report(tmp_path: Path) -> None:
    """Whether outputs are captured at all is told by its traces, which nobody reads again."""
    worker = compared(tmp_path, "empty_answer")
    arrives(worker, 6, 1)
    arrives(worker, 16, 40)
    reported(worker, 30)
    arrives(worker, 36, 2, "")
    arrives(worker, 46, 1, "")
    [(what, says)] = worker.said_in
    assert (what, "3 of 3 traces in 30m" in says) == ("opened", True), says
    assert worker.said == ["alerts wait for a report to compare with", "alert opened"]
    assert [sum(look.found.values()) for look in Journal(alerts_dir(worker.current)).read()] == [0, 0, 2, 1]


def test_a_shift_is_told_of_new_traces_and_the_counts_of_the_last_report(tmp_path: Path) -> None:
    worker = compared(tmp_path, "latency_shift")
    arrives(worker, 6, 40)
    assert "until there is a report to compare with, not: latency_shift" in of_one(worker.current, "broken", 0)[1]
    reported(worker, 30)
    assert "until" not in of_one(worker.current, "broken", 0)[1]
    arrives(worker, 36, 12)
    assert not worker.sent, "as fast as before"
    arrives(worker, 46, 12, seconds=4)
    [(what, says)] = worker.said_in
    assert (what, "is slower with" in says, "12 of 24 traces in 30m" in says) == ("opened", True, True), says


OWN = """
---
name = "{name}"
category = "Timeout Issues"
definition = "a test's"
source = "a test"
limits = "a test's"
scope = "group"
min_traces = 3
title = "{{subject}} says nothing"
description = "a test's"
fix = "a test's"
validation = "a test's"
---
SELECT trace_id, span_id FROM STEPS WHERE span_type = 'llm' AND coalesce(output_length, 0) = 0 AND ({usual})
"""
ALL = "[alerts.all]\nwhen = 'new'\nevery = '10m'\nsinks = ['out']\nrules = ['empty_answer']"
COUNTED = "SELECT sum(answered) >= 40 AND sum(shown) >= 0.9 * sum(answered) FROM Output_Counts"
OF_THE_WINDOW = "SELECT count(*) >= 40 FROM steps WHERE output_length > 0"


def own_rule(folder: Path, name: str, usual: str, more: str = "") -> Worker:
    (folder / f"{name}.sql").write_text(OWN.format(name=name, usual=usual).lstrip())
    sink = f'[detectors]\npaths = ["{folder / name}.sql"]\n'
    rules = f'every = "10m"\nwindow = "30m"\nrules = ["{name}"]\n{more}'
    return Worker(settings(folder, "new", rules, sink=sink))


def test_a_rule_of_a_user_that_reads_counts_compares_new_traces_with_the_last_report(tmp_path: Path) -> None:
    """The traces that it compares with are gone: nobody could read them again. Its traces add up over looks."""
    worker = own_rule(tmp_path, "no_words", COUNTED)
    arrives(worker, 6, 1)
    arrives(worker, 16, 40)
    says = of_one(worker.current, "broken", 0)[1]
    assert "until there is a report to compare with, not: no_words" in says
    assert "whole window" not in says
    reported(worker, 30)
    arrives(worker, 36, 2, "")
    assert not worker.sent
    arrives(worker, 46, 1, "")
    [(what, says)] = worker.said_in
    assert (what, "3 of 3 traces in 30m" in says) == ("opened", True), says
    assert worker.said == ["alerts wait for a report to compare with", "alert opened"]


def test_a_rule_of_a_user_that_compares_by_its_sql_alone_reads_the_whole_window(tmp_path: Path) -> None:
    worker = own_rule(tmp_path, "no_words", OF_THE_WINDOW)
    assert "; reads its whole window at each look for no_words" in of_one(worker.current, "broken", 0)[1]
    arrives(worker, 6, 1)
    arrives(worker, 36, 60)
    arrives(worker, 46, 3, "")
    [(what, says)] = worker.said_in
    assert (what, "3 of 63 traces in 30m" in says) == ("opened", True), says


def test_the_rules_of_a_user_do_not_take_the_last_report_from_those_of_halo(tmp_path: Path) -> None:
    worker = own_rule(tmp_path, "no_words", "true", ALL)
    arrives(worker, 6, 1)
    arrives(worker, 16, 40)
    reported(worker, 30)
    arrives(worker, 36, 3, "")
    assert [one["findings"][0]["detector"]["name"] for one in worker.sent if one["alert"]["name"] == "all"] == [
        "empty_answer"
    ]


def test_looks_in_which_a_rule_waited_are_not_counted_as_looks_that_found_nothing(tmp_path: Path) -> None:
    """As many calls give no answer before the first report as after it: nothing has changed."""
    worker = Worker(
        settings(tmp_path, "rate", 'every = "10m"\nwindow = "20m"\nrules = ["empty_answer", "error_timeout"]')
    )
    for at in (6, 16, 26, 46):
        if at == 46:
            reported(worker, 40)
        arrives(worker, at, 110, silent=9)
    assert not worker.sent
    looks = Journal(alerts_dir(worker.current)).read()
    before, after = ("error_timeout",), ("empty_answer", "error_timeout")
    assert [look.rules for look in looks if look.of] == [before] * 3 + [after]
    assert [sum(look.found.values()) for look in looks if look.of] == [0, 0, 0, 9]
    lines = Journal(alerts_dir(worker.current)).path.read_text().splitlines()
    assert [tuple(rules) for line in lines if (rules := json.loads(line).get("rules"))] == [before, after]


def test_the_settings_of_the_documentation_can_be_watched(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "halo.toml").write_text("".join(blocks))
    current = load_settings(
        file=tmp_path / "halo.toml", environment={"HALO_SINKS_ONCALL_URL": "https://hooks.example/x"}
    )
    assert {one.when for one in current.alerts.values()} == {"new", "regressed", "rate"}
    eligible.check(current)


def test_rules_that_look_at_traces_before_they_settle_name_in_a_part_what_they_name_in_the_whole(
    tmp_path: Path,
) -> None:
    early = [unit for unit in DETECTORS if unit.early]
    assert {unit.name for unit in early} <= eligible.built_in().keys()
    checked = 0
    for whole, parts in hits_of_parts(early, tmp_path):
        assert parts <= whole
        checked += len(parts)
    assert checked >= len(early)


@pytest.mark.parametrize(
    ("more", "says", "hint"),
    [
        ('rules = ["error_timout"]', "there is no detector 'error_timout'", "did you mean 'error_timeout'?"),
        ('rules = ["unusual_tool"]', "'unusual_tool' is right in 70%", "alerts can use: "),
        ('rules = ["answer_from_memory"]', "'answer_from_memory' is right in ", "alerts can use: "),
        ('categories = ["Timeout Isues"]', "no rule of an alert has 'Timeout Isues'", "did you mean 'Timeout Issues'?"),
        ('every = "10s"', "every = '10s' is shorter than a minute", ""),
        ('window = "soon"', "window: 'soon' is not a length of time", ""),
        ('window = "1m"', "window = '1m' is shorter than every = '5m'", ""),
        ('sinks = ["ot"]', "names the sink 'ot', which is not configured", "did you mean 'out'?"),
        ('cooldwn = "1h"', "has no setting 'cooldwn'", "did you mean 'cooldown'?"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line_that_names_it(
    tmp_path: Path, halo: Halo, more: str, says: str, hint: str
) -> None:
    text = TOML.format(out=tmp_path / "out", name="broken", when="rate", more=more)
    if "sinks" in more:
        text = text.replace('sinks = ["out"]\n', "")
    (tmp_path / "halo.toml").write_text(text)
    done = halo("alerts")
    assert done.code == 2
    [error, advice] = done.err.splitlines()
    assert "[alerts.broken]" in error
    assert says in error
    assert hint in advice


def test_an_unknown_alert_is_told_with_the_nearest_name(tmp_path: Path, halo: Halo) -> None:
    settings(tmp_path, "rate")
    assert "did you mean 'broken'?" in halo("alerts", "test", "brokn").err
    assert "did you mean 'test'?" in halo("alerts", "tst", "broken").err


def test_check_raises_of_an_alert_that_no_rule_is_left_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rule has one of its names and one of its categories"):
        eligible.check(settings(tmp_path, "new", 'rules = ["error_timeout"]\ncategories = ["Data Leak"]'))


# --------------------------------------------------------------------------------------------------------------- seals


def test_the_receiver_is_asked_to_seal_only_where_what_waits_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    clock = [0.0]

    def seal(_: Path) -> segments_client.Sealed:
        asked.append(clock[0])
        return segments_client.Sealed(True)

    monkeypatch.setattr(segments_client, "seal", seal)
    sealing = Sealing(settings(tmp_path, "new"), monotonic=lambda: clock[0])
    monkeypatch.setattr(sealed.backlog, "waiting", lambda _: None)
    assert sealing.readable_until(1000 * SECOND, fresh_ns=300 * SECOND) == 999 * SECOND
    monkeypatch.setattr(sealed.backlog, "waiting", lambda _: Backlog(1, 950 * SECOND))
    assert sealing.readable_until(1000 * SECOND, fresh_ns=300 * SECOND) == 950 * SECOND
    assert asked == []
    assert sealing.readable_until(1300 * SECOND, fresh_ns=300 * SECOND) == 1299 * SECOND
    clock[0] = 9.0
    assert sealing.readable_until(1300 * SECOND, fresh_ns=300 * SECOND) == 950 * SECOND
    clock[0] = 10.0
    assert sealing.readable_until(1300 * SECOND, fresh_ns=300 * SECOND) == 1299 * SECOND
    assert asked == [0.0, 10.0]


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_lists_episodes_and_tries_an_alert_on_the_last_day(
    breaking: Settings, halo: Halo, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worker(breaking).at(90 * MINUTE)
    monkeypatch.setattr("halo_worker.cli.alerts.time.time_ns", lambda: nano(100 * MINUTE))
    [row] = json.loads(halo("alerts", "--data-dir", "data", "--format", "json").out)
    assert (row["alert"], row["state"], row["traces"], row["of"]) == ("broken", "open", 5, 280)
    before = (alerts_dir(breaking) / "alerts.jsonl").read_bytes()
    done = halo("alerts", "test", "broken", "--data-dir", "data")
    assert "new: refund times out: 5 of 40 traces in 1h" in done.out
    assert "broken: 1 message, 144 looks over 40 traces of the last day; nothing was sent" in done.err
    assert (alerts_dir(breaking) / "alerts.jsonl").read_bytes() == before
