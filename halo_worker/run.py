"""One run, the conductor: window → analyze → verify → publish → deliver."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from halo_receiver import permissions
from halo_worker import assembly, inputs, issues, window_reader
from halo_worker.analysis import analyst, detectors, evidence, expectations, identities, learned_detectors, page_data
from halo_worker.analysis.detectors import baselines, tables
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.exclusions import Exclusions
from halo_worker.analysis.work import Progress, Work
from halo_worker.config import Settings
from halo_worker.config_schedules import BudgetConfig
from halo_worker.delivery.courier import Courier, Delivery
from halo_worker.errors import ConfigError, HaloError
from halo_worker.issues import memory as memory
from halo_worker.issues import reports_dir
from halo_worker.issues import watermarks as watermarks
from halo_worker.report import briefs, html, labelled, markdown
from halo_worker.report.archive import Archive, new_run_id
from halo_worker.report.formats import minute
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Report
from halo_worker.report.page_data import SCENE_FILE
from halo_worker.report.shared import Alone
from halo_worker.request import Request, forget_old, note_request, resumed, work_root
from halo_worker.window import Window

TRAJECTORY_FILE = "trajectory.jsonl"

_interrupted = threading.Event()


@dataclass(frozen=True, slots=True)
class Result:
    """The published report and where it lies."""

    report: Report
    folder: Path
    problems: tuple[str, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


def interrupt() -> None:
    """Ask the run in progress to end: it publishes what is established as partial."""
    _interrupted.set()


def interrupted() -> bool:
    """Say whether the run in progress was asked to end."""
    return _interrupted.is_set()


def run_schedule(
    current: Settings,
    name: str,
    window: Window,
    *,
    now_ns: int,
    progress: Callable[[Progress | str], None] = lambda _: None,
    shared: Alone | None = None,
) -> Result:
    """Run one window of a schedule. `shared`: who is asked before its report counts, where several workers share it."""
    config = current.schedules[name]
    budget = BudgetConfig.model_validate({**current.budget.model_dump(), **config.budget})
    request = Request(
        window=window,
        prompt=config.prompt,
        engine=config.engine,
        schedule=name,
        source=config.source,
        services=tuple(config.services),
        agents=tuple(config.agents),
        sinks=tuple(config.sinks),
        settle=True,
        unread=_gap(current, name, window, now_ns),
        progress=progress,
        shared=shared,
    )
    return run(replace(current, budget=budget), request, now_ns=now_ns)


def _gap(current: Settings, name: str, window: Window, now_ns: int) -> tuple[str, ...]:
    """Say what lies between a schedule's last window and this one: after a long downtime not all is caught up."""
    before = issues.watermarks(current)(name, now_ns)
    if before is None or before >= window.start_ns:
        return ()
    between = f"{minute(before)} and {minute(window.start_ns)} UTC"
    return (
        f"what settled between {between}: window, max_window and catch_up of [schedules.{name}] decide how far back "
        "a run reaches",
    )


def run(current: Settings, request: Request, *, now_ns: int) -> Result:
    """Analyse one window or some files, publish the report, and deliver it.

    Raises ConfigError or InputError when it cannot begin. Whatever the engine meets on the way ends in a report.
    """
    engine = current.engine_for(request.engine)
    if engine == "rlm" and not (current.model.api_key or current.model.base_url):
        raise ConfigError(
            "no model can be reached: neither a key nor a base URL is set",
            hint="set OPENAI_API_KEY, or --base-url for a local model; '--detectors-only' needs neither",
        )
    if request.prompt and engine == "detectors":
        raise ConfigError(
            "a question (-p) needs a model, and neither a key nor a base URL is set",
            hint="set OPENAI_API_KEY or --base-url; 'halo run --input PATH --detectors-only' reports without one",
        )
    expectations.read(current.analysis.expectations)  # a file that cannot be read is said before anything is done
    if request.resume:
        request = resumed(current, request)
    run_id = request.resume or new_run_id(now_ns)
    home = archive = Archive(issues.reports_dir(current))
    if request.recall or not request.out:
        home = archive = issues.archive(current, request.shared, at_once=True)
    if request.out:
        permissions.make_directory(request.out)
        archive = Archive(request.out, outside=True)
    work_dir = work_root(current, request) / run_id
    scope = request.schedule
    if request.recall and scope is None:
        scope = issues.scope_by_hand(current, home, request.memory)
    with window_reader.opened(current, request, now_ns, interrupted=interrupted) as opened:
        reader, window, problems = opened[:3]
        known = IssueMemory([])
        if request.recall:
            known = issues.open_memory(home, scope=scope, window=window, by_hand=request.schedule is None)
        begun = _Begun(current, request, opened, known, Exclusions(known), run_id, work_dir, now_ns)
        draft = _draft(begun)
        draft.findings = identities.joined(draft.findings, known)
        request.progress("checking quotes and counts")
        verified = evidence.verify(reader, draft)
        assembled = assembly.assemble(
            reader,
            assembly.About(
                run_id, window, now_ns, request.schedule, request.prompt,
                memory=scope if request.schedule is None else None,
                remembered=request.schedule is not None or request.remember,
            ),
            draft,
            verified,
            known,
            not_examined=(*request.unread, *problems),
        )  # fmt: skip
        report = assembled.report
        staged = page_data.collect(reader, report, assembled.history)
        kept, links = (archive.directory / report.id).absolute(), current.links
        documents = {
            "report.md": markdown.render_markdown(report, known_ids=staged.known_ids, links=links, folder=kept),
            "report.html": html.render_html(report, staged, index="../index.html", links=links, folder=kept),
            SCENE_FILE: staged.model_dump_json() + "\n",
            **briefs.files(report.findings),
            **labelled.files(draft.labels, assembled.affected),
            **baselines.files(reader, tables.counts()),
        }
    folder = archive.publish(
        report,
        documents,
        affected=assembled.affected,
        trajectory=work_dir / TRAJECTORY_FILE,
        sinks=request.sinks,
        again=bool(request.resume),
    )
    if report.status == "complete":
        shutil.rmtree(work_dir, ignore_errors=True)  # else it is kept: 'halo run --resume' goes on from it
    _write_index(current, archive, request)
    deliveries = courier(current, archive).deliver(report.id, request.sinks)
    return Result(report, folder, tuple(problems), tuple(deliveries))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run whose window is open."""

    current: Settings
    request: Request
    opened: window_reader.Opened
    known: IssueMemory
    exclusions: Exclusions
    run_id: str
    work_dir: Path
    now_ns: int


def _draft(begun: _Begun) -> Draft:
    """Have the detectors, and a model where there is one, work the window; leave out what people called wrong."""
    current, request = begun.current, begun.request
    detect = partial(_detected, begun)
    if current.engine_for(request.engine) == "rlm":
        forget_old(begun.work_dir.parent, begun.now_ns)
        note_request(begun.work_dir, request, begun.opened.window)
        try:
            draft = analyst.analyze(begun.opened.reader, detect, _work(begun))
        finally:
            if request.telemetry:
                trajectory = begun.work_dir / TRAJECTORY_FILE
                tell(current, begun.run_id, trajectory, begun.now_ns, request.say)
    else:
        draft = detect()
    draft.findings = [kept for found in draft.findings if (kept := begun.exclusions.apply(found)) is not None]
    draft.left_out = begun.exclusions.left_out
    return draft


def _work(begun: _Begun) -> Work:
    current, request, analysis = begun.current, begun.request, begun.current.analysis
    if told := begun.exclusions.told():
        analysis = analysis.model_copy(update={"context": "\n".join(filter(None, (analysis.context, told)))})
    return Work(
        prompt=request.prompt,
        model=current.model,
        budget=current.budget,
        analysis=analysis,
        window=begun.opened.window,
        work_dir=begun.work_dir,
        cache_dir=current.store.data_dir / "cache" if request.recall else None,
        threads=current.store.threads,
        sample=begun.opened.sample,
        issues=tuple(begun.known.issues.values()),
        labels=labelled.earlier(reports_dir(current), begun.known.issues.values()),
        progress=request.progress,
        interrupted=interrupted,
        resume=bool(request.resume),
    )


def _detected(begun: _Begun) -> Draft:
    """Run the detectors, ours and those that a model wrote in earlier reports."""
    current = begun.current
    work_dir, threads = begun.work_dir, current.store.threads
    mine = current.detectors
    own = detectors.Own(mine.paths, frozenset(mine.mute), work_dir / "own", threads, mine.thresholds)
    found = detectors.run_detectors(
        begun.opened.reader, begun.exclusions, own, step=begun.request.progress, prepare=begun.opened.prepare
    )
    known = list(begun.known.issues.values())
    again, unmeasured = learned_detectors.remeasure(begun.opened.reader, known, work_dir / "learned", threads=threads)
    expected = expectations.read(current.analysis.expectations)
    broken, unknown = expectations.measured(begun.opened.reader, expected, work_dir / "expectations", threads=threads)
    found.findings = [*broken, *again, *found.findings]
    found.not_examined += [*unmeasured, *unknown]
    found.engine.rules.update({one.rule: one.version for one in expected if one.sql})
    return found


def tell(current: Settings, run_id: str, trajectory: Path, now_ns: int, say: Callable[[str], None]) -> None:
    """Send the run's own spans where the environment says, else put them into the store. A run never fails by it."""
    from halo_worker import telemetry  # OpenTelemetry's SDK takes a fifth of a second to import

    try:
        if telemetry.endpoint():
            run = telemetry.RunTelemetry(run_id, content=telemetry.captures_content())
            if problem := telemetry.export(run.spans(trajectory)):
                say(f"warning: {problem}")
            return
        run = telemetry.RunTelemetry(run_id)
        with tempfile.TemporaryDirectory(prefix="halo-") as folder:
            file = Path(folder) / "run.pb"
            file.write_bytes(telemetry.encoded(run.spans(trajectory)))
            inputs.import_files([str(file)], current.store.data_dir, now_ns=now_ns, arrival="now", say=say)
        say(f"the run's own spans: halo trace {run.trace_id}")
    except (HaloError, OSError) as error:
        say(f"warning: the run's own spans were not kept: {error}")


def _write_index(current: Settings, archive: Archive, request: Request) -> None:
    """Write the page over all reports and issues; a disk that refuses costs the page alone."""
    reports, _ = archive.reports(newest=issues.REMEMBERED)
    known = issues.open_memory(archive).issues.values()
    try:
        archive.write_beside("index.html", html.render_index(reports, known))
    except OSError as error:
        request.say(f"warning: the index of reports was not written: {error.strerror}")


def deliver(current: Settings, run_id: str, sinks: Sequence[str] | None = None) -> list[Delivery]:
    """Deliver one report again to what has no receipt of it: its schedule's sinks, or those named."""
    archive = issues.archive(current)
    report = archive.load(run_id)
    if sinks is None:
        schedule = current.schedules.get(report.schedule or "")
        sinks = schedule.sinks if schedule else list(current.sinks)
    return courier(current, archive).deliver(report.id, sinks, again=True)


def courier(current: Settings, archive: Archive | None = None) -> Courier:
    """Return what tries again what sinks could not take. It remembers what it need not look at any more."""
    archive = archive or issues.archive(current)
    return Courier(archive, current.sinks, current.redaction, links=current.links_in_messages())
