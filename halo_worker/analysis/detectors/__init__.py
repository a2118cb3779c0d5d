"""Deterministic detectors: each a small named unit, computed in DuckDB over the whole window.

Categories are leaves of the TRAIL taxonomy where one fits; else `Unhandled Error` (fails, in no known class),
`Latency Outlier`, and `Broken Telemetry` (a fault of the instrumentation, not of the agent).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from halo_receiver.store.reader import Reader
from halo_worker.analysis import calibration
from halo_worker.analysis.detectors import blame, capture, quotes, reasons, rules, trial
from halo_worker.analysis.detectors.baselines import Baselines
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.own import Own, Ran
from halo_worker.analysis.detectors.own import run as run_own
from halo_worker.analysis.draft import Draft, DraftFinding, Occurrence
from halo_worker.analysis.exclusions import Exclusions
from halo_worker.display import named
from halo_worker.report.identity import alike, tokens
from halo_worker.report.model import Engine, Evidence

DETECTORS: tuple[Unit, ...] = rules.built_in()

REPLACED: dict[str, str] = {old: unit.name for unit in DETECTORS for old in unit.replaces}

MAX_FINDINGS = 250  # of one window; the largest are kept, the rest is counted
QUOTES = 3  # evidence of one finding
MAX_KEYS = 300  # of one detector, that others are compared with
KEY_CHARACTERS = 200  # of a key inside of a text
USUAL_SUBJECT = 0.8  # share of the sightings, from which a title names their subject alone
OURS = ("an agent", "the agent", "a tool")  # subjects that detectors name themselves, not traces

Prepare = Callable[[Reader], frozenset[str]]  # makes the tables of a window; returns the detectors that have run

_FILLED = re.compile(r"\{(subject|key|what)\}")

__all__ = ["DETECTORS", "REPLACED", "Own", "Unit", "run_detectors"]


def run_detectors(
    reader: Reader,
    exclusions: Exclusions | None = None,
    own: Own | None = None,
    step: Callable[[str], None] = lambda _: None,
    prepare: Prepare | None = None,
) -> Draft:
    """Run every detector over the window and return what they found, the most frequent first, with quotes.

    Hits that a person called wrong (`exclusions`) do not count. `own`: detectors that the user adds, and mutes.
    `step` is told in words how far they are. `prepare` makes the tables where parts of the window were worked before.
    Makes the tables of `overview` and `tables` on the reader's connection.
    """
    started = time.monotonic()
    ran = _run(reader, own, step=step, prepare=prepare)
    findings = found(reader, ran.units, exclusions)
    traces = reader.query("SELECT count(DISTINCT trace_id) AS n FROM _s")[0]["n"]
    captured = capture.captured(reader)
    draft = Draft(
        engine=Engine(
            mode="detectors",
            seconds=round(time.monotonic() - started, 3),
            rules={unit.name: unit.version for unit in ran.units},
        ),
        findings=quotes.prove(reader, findings[:MAX_FINDINGS], {unit.name: unit for unit in ran.units}),
        traces_examined=traces,
        unsupported=capture.unsupported(captured),
        detectors_off=capture.off(captured),
        not_examined=ran.problems,
    )
    if len(findings) > MAX_FINDINGS:
        draft.not_examined.append(f"{len(findings) - MAX_FINDINGS} rarer findings are left out of the report")
    return draft


def every_finding(
    reader: Reader,
    exclusions: Exclusions | None = None,
    own: Own | None = None,
    only: Sequence[Unit] | None = None,
    step: Callable[[str], None] = lambda _: None,
    earlier: Baselines | None = None,
    told: bool = True,
) -> tuple[list[DraftFinding], Ran]:
    """Return all that the detectors find in the window, however rare, and which ran; quotes are not yet proven.

    Makes the tables of `run_detectors`; with `only`, some of halo's own, those that these read. With `earlier`, rules
    that compare traces compare them with those counts as well. Without `told`, titles and causes do not name what
    errors say: `found` makes them of the same hits.
    """
    ran = _run(reader, own, only, step, earlier=earlier)
    return found(reader, ran.units, exclusions, told=told), ran


def _run(
    reader: Reader,
    own: Own | None,
    only: Sequence[Unit] | None = None,
    step: Callable[[str], None] = lambda _: None,
    prepare: Prepare | None = None,
    earlier: Baselines | None = None,
) -> Ran:
    """Make `_blamed` from the hits of detectors; return which ran, and why others did not."""
    mine = [] if own is None or only is None else own.units()[0]
    step("preparing the tables of the window")
    ran_before = prepare(reader) if prepare is not None else frozenset()
    read = None if only is None else [*only, *(replace(unit, driven_by="") for unit in mine)]  # these are run always
    idle = trial.prepare(reader, read, earlier) if prepare is None else frozenset()
    among = DETECTORS if only is None else only
    units = [unit for unit in among if own is None or unit.name not in own.mute]
    for number, unit in enumerate(units, 1):
        if unit.name not in ran_before:
            step(f"detector {number} of {len(units)}: {unit.name}")
        if unit.name not in ran_before | idle:
            trial.insert(reader, unit)
    ran = Ran() if own is None else run_own(reader, own)
    ran.units = [*units, *ran.units]
    blame.prepare(reader)
    _merge_alike(reader)
    if own is not None and own.thresholds:
        _leave_out_rare(reader, own.thresholds)
    return ran


def _leave_out_rare(reader: Reader, thresholds: Mapping[str, Mapping[str, float]]) -> None:
    """Take out the hits of services in fewer traces than the user's thresholds, counted by detector and key."""
    rows = [(service, name, least) for service, by in thresholds.items() for name, least in by.items()]
    execute = reader.connection.execute
    execute("CREATE OR REPLACE TEMP TABLE _thresholds (service_name VARCHAR, detector VARCHAR, least DOUBLE)")
    reader.connection.executemany("INSERT INTO _thresholds VALUES (?, ?, ?)", rows)
    execute("""
        DELETE FROM _blamed WHERE (detector, key, trace_id, span_id) IN (
          WITH seen AS (
            SELECT service_name, count(DISTINCT trace_id) AS traces FROM _s
            SEMI JOIN _thresholds USING (service_name) GROUP BY service_name
          ),
          counted AS (
            SELECT b.detector, b.key, b.trace_id, b.span_id, s.service_name,
              count(DISTINCT b.trace_id) OVER (PARTITION BY b.detector, b.key, s.service_name) AS hit
            FROM _blamed b JOIN _s s USING (trace_id, span_id)
          )
          SELECT (c.detector, c.key, c.trace_id, c.span_id) FROM counted c
          JOIN _thresholds t USING (service_name, detector) JOIN seen USING (service_name)
          WHERE c.hit < CASE WHEN t.least < 1 THEN t.least * seen.traces ELSE t.least END)
    """)


def found(
    reader: Reader, units: Sequence[Unit], exclusions: Exclusions | None, *, told: bool = True
) -> list[DraftFinding]:
    """Return the findings of detectors that have run. Needs the tables that they read."""
    findings = _findings(reader, {unit.name: unit for unit in units}, told=told)
    if exclusions is None:
        return findings
    return [kept for one in findings if (kept := _without(reader, one, exclusions)) is not None]


def _merge_alike(reader: Reader) -> None:
    """Give nearly equal keys of one detector the commonest of them: one failure mode, one finding."""
    rows = reader.query(
        "SELECT detector, key, count(*) AS n FROM _blamed WHERE key IS NOT NULL "
        "GROUP BY ALL ORDER BY detector, n DESC, key"
    )
    kept: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    merged: list[tuple[str, str, str]] = []
    for row in rows:
        known, said = kept.setdefault(row["detector"], []), tokens(row["key"])
        same = next((key for key, other in known if alike(said, other)), None)
        if same is not None:
            merged.append((row["detector"], row["key"], same))
        elif len(known) < MAX_KEYS:
            known.append((row["key"], said))
    if merged:
        execute = reader.connection.execute
        execute("CREATE OR REPLACE TEMP TABLE _alike (detector VARCHAR, key VARCHAR, same VARCHAR)")
        reader.connection.executemany("INSERT INTO _alike VALUES (?, ?, ?)", merged)
        execute("UPDATE _blamed b SET key = a.same FROM _alike a WHERE a.detector = b.detector AND a.key = b.key")


def _without(reader: Reader, found: DraftFinding, exclusions: Exclusions) -> DraftFinding | None:
    """Take the hits that a person called wrong out of a finding; quotes that go with them make room for others."""
    kept = exclusions.apply(found)
    if kept is None or len(kept.evidence) == len(found.evidence):
        return kept
    rows = reader.query(
        "SELECT trace_id, span_id, field, quote FROM _blamed WHERE detector = $1 AND key = $2 "
        "AND list_contains($3, trace_id) QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY span_id) = 1 "
        f"ORDER BY trace_id LIMIT {QUOTES}",
        [found.detector_name, found.key, sorted({one.trace_id for one in kept.occurrences})],
    )
    return replace(kept, evidence=[Evidence(**row) for row in rows])


def _findings(reader: Reader, units: Mapping[str, Unit], *, told: bool) -> list[DraftFinding]:
    rows = reader.query(f"""
        SELECT detector, key, mode(subject ORDER BY subject) AS subject, count(DISTINCT subject) AS subjects,
          count(*) FILTER (subject = usual) / count(*) AS share,
          count(DISTINCT trace_id) AS traces,
          list({{'t': trace_id, 's': span_id, 'o': origin_span_id}} ORDER BY trace_id, span_id) AS seen,
          list({{'t': trace_id, 's': span_id, 'f': field, 'q': quote}} ORDER BY trace_id, span_id)
            FILTER (nth_of_trace = 1 AND nth <= {QUOTES}) AS quotes
        FROM (SELECT *, mode(subject) OVER (PARTITION BY detector, key) AS usual,
          row_number() OVER (PARTITION BY detector, key, nth_of_trace ORDER BY trace_id) AS nth FROM (
          SELECT *, row_number() OVER (PARTITION BY detector, key, trace_id ORDER BY span_id) AS nth_of_trace
          FROM _blamed
        ))
        GROUP BY detector, key ORDER BY traces DESC, detector, key
    """)
    said = reasons.of(reader, units.values()) if told else {}
    return [
        _finding(units[row["detector"]], row, said.get((row["detector"], row["key"]), reasons.Reasons()))
        for row in rows
        if row["traces"] >= units[row["detector"]].min_traces
    ]


def _finding(unit: Unit, row: dict[str, object], why: reasons.Reasons) -> DraftFinding:
    seen: list[dict[str, str]] = row["seen"]  # type: ignore[assignment]
    quoted: list[dict[str, str]] = row["quotes"]  # type: ignore[assignment]
    others = int(str(row["subjects"] or 1)) - 1
    subject = str(row["subject"] or OURS[0])
    shown = subject if subject in OURS else named(subject).replace(" ⇄ ", " and ")
    alone = not others or float(str(row["share"])) >= USUAL_SUBJECT
    last = str(row["key"]).rpartition("|")[2]
    words = {
        "subject": shown if alone else f"{shown} (and {others} more)",
        "key": named(str(row["key"]), KEY_CHARACTERS),
        "what": unit.what.get(str(row["key"]), unit.what.get(last, named(last, KEY_CHARACTERS))),
    }

    def fill(text: str) -> str:
        return _FILLED.sub(lambda match: words[match[1]], text)

    title = fill(unit.title)
    return DraftFinding(
        title=why.titled(title) if unit.reason == "title" else title,
        description=fill(unit.description),
        category=unit.categories.get(str(row["key"]), unit.category),
        source="detector",
        confidence=calibration.confidence(unit.name, unit.confidence),
        key=str(row["key"]),
        detector_name=unit.name,
        occurrences=[Occurrence(item["t"], item["o"], item["s"]) for item in seen],
        evidence=[Evidence(trace_id=item["t"], span_id=item["s"], field=item["f"], quote=item["q"]) for item in quoted],
        definition=unit.definition,
        root_cause=" ".join(filter(None, (why.cause, fill(unit.cause)))),
        fix_summary=fill(unit.fixes.get(str(row["key"])) or unit.fixes.get(why.error_class) or unit.fix),
        fix_validation=fill(unit.validation),
        severity_hint=unit.severity,
        rule_version=unit.version,
    )
