"""Traces meet the engine: a window, its hypotheses and a question become a draft that stands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from halo_receiver.store.reader import Reader
from halo_worker.analysis import expectations, first_message, prompts, recurring, routes, tables, unanswered, verdicts
from halo_worker.analysis import hypotheses as guesses
from halo_worker.analysis.answer import FINAL_ANSWER
from halo_worker.analysis.claim_verification import ClaimVerifier, VerifiedAnswer
from halo_worker.analysis.draft import Draft, DraftFinding
from halo_worker.analysis.judging.grouping import unreported
from halo_worker.analysis.judging.judge import Judge
from halo_worker.analysis.judging.mapped import mapped
from halo_worker.analysis.judging.route import judged
from halo_worker.analysis.judging.tool import judge_tool
from halo_worker.analysis.labels import COLUMNS as LABELS
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.repository import not_read, repository_tools
from halo_worker.analysis.tools import Desk, window_tools
from halo_worker.analysis.tools.overview import dataset_overview
from halo_worker.analysis.work import Work, limits_of, models_of, progress
from halo_worker.report.model import Engine, Stop
from halo_worker.rlm.agent import checkpoint
from halo_worker.rlm.agent.builtin_tools import RUN_CODE
from halo_worker.rlm.agent.session import Check, Event, Outcome, Session, Task
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.messages import Message
from halo_worker.rlm.tool import Tool, ToolError

OVERVIEW_BYTES = 4_500  # of the first message, at the most
OVERVIEW_AIM = 2_500  # to which examples are left out of it; short lists of names stay
TOO_LONG = "context_length_exceeded"  # the code under which the engine reports it
NO_PRICE = (
    "the price of {model} is not known: the limit of ${limit:g} could not hold; "
    "set [model] input_usd_per_million and output_usd_per_million"
)


def analyze(reader: Reader, found: Draft | Callable[[], Draft], work: Work) -> Draft:
    """Have a model work the window, with the detectors' findings as its starting hypotheses.

    `found` may be a function that finds them: it runs while the window is opened for questions. Whatever a model or its
    provider does ends in a draft: what is not reached is said in it. Raises InputError when there is no repository
    where one was named. This is the border: the engine is asynchronous, what calls it is not.
    """
    return asyncio.run(work_window(reader, found, work))


async def work_window(reader: Reader, found: Draft | Callable[[], Draft], work: Work) -> Draft:
    """Do the same from within a loop. The reader is used from one thread at a time."""
    expected = expectations.read(work.analysis.expectations)
    if expected:
        context = "\n".join(filter(None, (work.analysis.context, expectations.told(expected))))
        work = replace(work, analysis=work.analysis.model_copy(update={"context": context}))
    repository = repository_tools(work.analysis.repo_path) if work.analysis.repo_path else ()
    work.work_dir.mkdir(parents=True, exist_ok=True)
    desk = Desk(Questions.of(reader, work.work_dir / "tmp", threads=work.threads, segments=work.sample))
    if work.sample:
        desk.whole = Questions.of(reader, work.work_dir / "whole", threads=work.threads)
    root, sub = work.models or models_of(work.model)
    doing, findings = ["starting"], [0]

    def emit(event: Event) -> None:
        work.emit(event)
        if event.item is not None and event.item.role == "assistant" and event.item.tool_calls:
            doing[0] = ", ".join(call.name for call in event.item.tool_calls[:3])
        if event.item is not None and event.item.role == "tool" and event.item.name == RUN_CODE:
            desk.put_before(event.item.content or "")
        work.progress(progress(session, work, findings[0], doing[0]))

    session = Session(
        root=root, sub=sub, limits=limits_of(work.budget), open_interpreter=OpenMonty(), work_dir=work.work_dir,
        cache_dir=work.cache_dir, max_retries=work.model.max_retries, refusal_retries=work.model.refusal_retries,
        emit=emit, interrupted=work.interrupted, resume=work.resume, on_prompt=desk.put_before,
    )  # fmt: skip
    try:
        draft, window = await _looked_at(reader, found, desk)
        findings[0] = len(draft.findings)
        if isinstance(window, ToolError):  # not a model's fault, and not the end of the report
            return _with_usage(_unasked(draft, window), session, work, None)
        try:
            return await _worked(reader, draft, work, session, desk, window, repository)
        except ToolError as error:
            return _with_usage(_unasked(draft, error), session, work, None)
    finally:
        with contextlib.suppress(Exception):
            await session.close()
        await desk.questions.close()
        if desk.whole is not None:
            await desk.whole.close()


_Window = tuple[dict[str, Any], routes.Size]  # its overview, and how much it is


async def _looked_at(
    reader: Reader, found: Draft | Callable[[], Draft], desk: Desk
) -> tuple[Draft, _Window | ToolError]:
    """Let the detectors run, in a thread, while the window is opened for questions and its overview is made."""
    detecting = asyncio.create_task(asyncio.to_thread(found)) if callable(found) else None
    window: _Window | ToolError
    try:
        try:
            window = (await dataset_overview(desk, None, OVERVIEW_BYTES, aim=OVERVIEW_AIM), await routes.measured(desk))
        except ToolError as error:
            window = error
        return (await detecting if detecting is not None else cast("Draft", found)), window
    except BaseException:
        if detecting is not None:
            reader.connection.interrupt()  # nobody waits for what the thread would find
        raise


async def _worked(
    reader: Reader, found: Draft, work: Work, session: Session, desk: Desk, window: _Window, repository: Sequence[Tool]
) -> Draft:
    overview, size = window
    if not overview["traces"]:
        empty = "the window holds no traces: no model was asked"
        draft = replace(found, not_examined=[*found.not_examined, empty], unanswered=empty if work.prompt else None)
        return _with_usage(draft, session, work, None)
    hypotheses = guesses.named(found.findings)
    desk.hypotheses = guesses.trace_ids(hypotheses)
    desk.questions.set_table("hypotheses", guesses.COLUMNS, guesses.rows(hypotheses))
    desk.notes.earlier = work.labels
    desk.questions.set_table("labels", LABELS, desk.notes.rows())
    schema = tables.described(reader)
    expected = {one.id: one for one in expectations.read(work.analysis.expectations)}
    earlier = recurring.earlier(work.issues, expected.values())
    told = recurring.told(earlier, work.labels)
    traces = int(reader.query("SELECT count(*) AS n FROM _t")[0]["n"]) if work.sample else overview["traces"]
    verifier = ClaimVerifier(
        reader, desk, hypotheses, traces=traces, expected=expected, earlier=earlier,
        needs_answer=work.prompt is not None and not work.messages,
    )  # fmt: skip
    judge = Judge(desk, verifier, session.batch, work.analysis.context or "", expected)
    most = work.budget.max_tokens
    route, reason = routes.chosen(_route(work, repository), size, max_tokens=most)
    stopped: Stop | None = None
    worked: routes.Worked | None = None
    if route != "loop":
        asked: dict[str, Any] = {
            "task": prompts.task(work.prompt, work.analysis.context), "size": size,
            "rules": prompts.rules(
                schema, guesses.listed(hypotheses, once=True), earlier=told, quoting=route == "direct"
            ),
        }  # fmt: skip
        if route == "judge":
            worked = await judged(session, desk, verifier, judge=judge, max_tokens=most, **asked)
        elif route == "map":
            worked = await mapped(session, desk, verifier, expected=expected, max_tokens=most, **asked)
        else:
            worked = await routes.direct(session, desk, verifier, **asked)
        if worked.verified is None and TOO_LONG in worked.error and session.ledger.stopped is None:
            reason = f"the model's context is too small for the {route} route"
            route, worked = "loop", None
    if worked is None:
        first = await first_message.written(work, found, hypotheses, overview, told)
        verified, outcome, said = await _loop(work, session, desk, judge, first, schema, repository)
        more = unreported(desk.notes.notes, expected, outcome.arguments)
        established = (await verifier.verify({"answer": "", "findings": more})).findings if more else []
        draft = _merged(found, hypotheses, verified, work, said)
        draft.findings = [*established, *draft.findings]
        stopped, why = outcome.stopped_by, outcome.reason
        if stopped:
            draft.not_examined.append(_why(stopped, why))
        if verified is None:
            draft.not_examined.append("the model gave no final answer")
    else:
        verified = worked.verified
        draft = _merged(found, hypotheses, verified, work, None)
        draft.not_examined += worked.not_examined
        draft.sampled = worked.sampled
        stopped = session.ledger.stopped or ("error" if verified is None else None)
        why = worked.error or session.ledger.reason
        if stopped:
            draft.not_examined.append(_why(stopped, why))
    draft.labels = desk.notes.labels()
    draft.stopped_by = stopped
    draft.unanswered = unanswered.reason(verified, question=bool(work.prompt), stopped=stopped, why=why)
    if work.analysis.repo_path and (reason_unread := not_read(work.analysis.repo_path)):
        draft.not_examined.append(reason_unread)
    opened = len(desk.opened)
    if work.sample:
        draft.sampled = True
        draft.not_examined.append(f"the model worked a fair sample of the window: {overview['traces']} whole traces")
    if opened < overview["traces"]:
        draft.not_examined.append(
            f"the model opened {opened} of {overview['traces']} traces; detectors and counts judged the others"
        )
    if work.prompt and draft.answer is None:
        draft.not_examined.append("the question was not answered")
    return _with_usage(draft, session, work, (route, reason))


def _route(work: Work, repository: Sequence[Tool]) -> str:
    """Return the route that is asked for: the loop for what only it can do, or had begun to."""
    begun = work.resume and (work.work_dir / checkpoint.NAME).exists()
    source = bool(repository) and work.analysis.route == "auto"
    return "loop" if work.messages or begun or source else work.analysis.route


async def _loop(
    work: Work, session: Session, desk: Desk, judge: Judge, first: str, schema: str, repository: Sequence[Tool]
) -> tuple[VerifiedAnswer | None, Outcome, str | None]:
    verifier = judge.verifier
    root, child = prompts.system(
        turns=work.budget.max_turns, depth=work.budget.max_depth, parallel=work.budget.max_parallel, schema=schema,
        context=work.analysis.context, repository=bool(repository),
    )  # fmt: skip
    messages: tuple[Message, ...] = (Message("user", first),)
    if work.messages:
        messages = tuple(work.messages)
        if messages[0].role == "system":
            root, messages = messages[0].content or "", messages[1:]

    async def check(arguments: dict[str, Any]) -> Check:
        return Check(tuple((await verifier.verify(arguments)).problems))

    outcome = await session.loop(
        Task(
            system=root,
            child_system=child,
            messages=messages,
            tools=(*window_tools(desk, session.query), judge_tool(judge), *repository),
            final_answer=FINAL_ANSWER,
            check=check,
            status=lambda: f"{len(desk.opened)} traces opened",
        )
    )
    if outcome.arguments is not None:
        return await verifier.verify(outcome.arguments), outcome, None
    return None, outcome, await verifier.verify_text(outcome.salvaged)


def _why(stopped: Stop | None, reason: str) -> str:
    words = {
        "turns": "the turns were used up", "tokens": "the tokens were used up", "cost": "the dollars were used up",
        "seconds": "the time was used up", "error": "the model could not be asked", "interrupted": "it was interrupted",
    }  # fmt: skip
    return f"{words.get(stopped or '', 'it was stopped')}{f': {reason}' if reason else ''}; the rest was not looked at"


def _merged(
    found: Draft, hypotheses: guesses.Hypotheses, verified: VerifiedAnswer | None, work: Work, said: str | None
) -> Draft:
    """Put the model's findings beside the detectors', one failure mode once."""
    draft = replace(
        found, findings=list(found.findings), not_examined=list(found.not_examined),
        rejected_reasons=list(found.rejected_reasons),
    )  # fmt: skip
    if verified is None:
        draft.answer = said if work.prompt else None
        return draft
    left, draft.set_aside = verdicts.settled(hypotheses, verified.verdicts)
    findings: list[DraftFinding] = [
        guesses.explained(hypothesis, verified.confirmed[name], lead=name in verified.led)
        if name in verified.confirmed
        else hypothesis
        for name, hypothesis in left.items()
    ]
    draft.findings = [*verified.findings, *findings]
    draft.answer = verified.answer if work.prompt or work.messages else None
    draft.rejected_citations += verified.citations
    draft.rejected_findings += verified.dropped
    draft.rejected_reasons += verified.reasons
    return draft


def _unasked(found: Draft, error: ToolError) -> Draft:
    reason = f"the window could not be asked: {error}"
    return replace(found, stopped_by="error", unanswered=reason, not_examined=[*found.not_examined, reason])


def _with_usage(draft: Draft, session: Session, work: Work, route: tuple[str, str] | None) -> Draft:
    ledger = session.ledger
    draft.engine = Engine(
        mode="rlm",
        model=work.model.name,
        route=route[0] if route else None,
        route_reason=route[1] if route else None,
        turns=ledger.turns,
        model_calls=ledger.model_calls,
        input_tokens=ledger.usage.input_tokens,
        output_tokens=ledger.usage.output_tokens,
        cached_tokens=ledger.usage.cached_tokens,
        cost_usd=ledger.usage.cost_usd,
        seconds=round(ledger.seconds, 3),
        rules=draft.engine.rules,
    )
    if ledger.unpriced_calls and work.budget.max_cost is not None:
        draft.unsupported = [*draft.unsupported, NO_PRICE.format(model=work.model.name, limit=work.budget.max_cost)]
    return draft
