"""How a window is worked: in one call, as a map over its traces, or by the loop. Size decides, where nobody else does.

On short inputs a model that reads everything is better than one that explores (the crossing lies near 16,000 tokens);
over long ones it is the other way round.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from halo_worker.analysis import prompts
from halo_worker.analysis.answer import FINAL_ANSWER, NOTES
from halo_worker.analysis.claim_verification import ClaimVerifier, VerifiedAnswer
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.fit import size, take
from halo_worker.analysis.tools.steps import pages
from halo_worker.report.model import Evidence
from halo_worker.rlm.agent.session import Session
from halo_worker.rlm.messages import Message

Route = Literal["direct", "map", "judge", "loop"]

BYTES_A_TOKEN = 3.5
DIRECT_TOKENS = 16_000
DIRECT_SPANS = 600
MAP_TOKENS = 400_000
MAP_TRACES = 400
MAP_SPANS = 12_000
MAP_SHARE = 0.5  # of the run's tokens, that a map may take
DIRECT_BYTES = 600_000  # of all traces in the one prompt, where the route was asked for whatever the size
MAP_BYTES = 1_600_000  # of all traces in the prompts of a map
TRACE_BYTES = 40_000  # of one trace in a prompt
GROUP_BYTES = 24_000  # of traces in one prompt of a map
NOTES_A_TRACE = 5
REDUCE_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is."""

    traces: int
    spans: int
    tokens: int | None  # None: so many spans that nobody counted


@dataclass(slots=True)
class Worked:
    """What came of a route: what stands, and what was not read."""

    verified: VerifiedAnswer | None = None
    error: str = ""
    not_examined: list[str] = field(default_factory=list)
    sampled: bool = False


async def measured(desk: Desk) -> Size:
    """Measure the window; texts only where there are few spans."""
    [facts] = (
        await desk.questions.rows(
            "SELECT count(*) AS traces, coalesce(sum(span_count), 0)::BIGINT AS spans FROM traces"
        )
    ).rows
    if facts["spans"] > MAP_SPANS:
        return Size(facts["traces"], facts["spans"], None)
    [texts] = (
        await desk.questions.rows(
            "SELECT coalesce(sum(least(coalesce(length(input_text), 0), 4096) + "
            "least(coalesce(length(output_text), 0), 4096) + 250), 0)::BIGINT AS n FROM spans"
        )
    ).rows
    return Size(facts["traces"], facts["spans"], int(texts["n"] / BYTES_A_TOKEN))


def chosen(asked: str, size: Size, *, max_tokens: int | None) -> tuple[Route, str]:
    """Return the route and its reason in words."""
    about = f"{size.traces} traces, {size.spans} spans" + (
        f", about {size.tokens} tokens" if size.tokens is not None else ""
    )
    if asked in get_args(Route):
        return asked, f"asked for; the window holds {about}"  # type: ignore[return-value]
    if size.tokens is None:
        return "loop", f"{about}: more than a map reads ({MAP_SPANS} spans)"
    if size.tokens <= DIRECT_TOKENS and size.spans <= DIRECT_SPANS:
        return "direct", f"{about}: fits one call ({DIRECT_TOKENS} tokens)"
    affordable = MAP_TOKENS if max_tokens is None else min(MAP_TOKENS, int(max_tokens * MAP_SHARE))
    if size.tokens <= affordable and size.traces <= MAP_TRACES:
        return "judge", f"{about}: judged trace by trace (up to {MAP_TRACES} traces, {affordable} tokens)"
    return "loop", f"{about}: more than a map reads ({MAP_TRACES} traces, {affordable} tokens)"


async def _texts(desk: Desk, limit: int, trace_bytes: int, most_bytes: int) -> list[str]:
    """Return traces as numbered steps with span ids, those with errors first."""
    found = await desk.questions.rows(
        f"SELECT trace_id FROM traces ORDER BY error_count > 0 DESC, hash(trace_id), trace_id LIMIT {limit}"
    )
    ids = [row["trace_id"] for row in found.rows]
    shown = await asyncio.gather(*(pages(desk, one, trace_bytes, ids=True) for one in ids))
    texts = take(["\n".join(page.text for page in every) for every in shown], most_bytes)
    desk.opened.update(ids[: len(texts)])
    return texts


async def direct(session: Session, desk: Desk, verifier: ClaimVerifier, *, task: str, rules: str, size: Size) -> Worked:
    """Show everything in one call."""
    worked = Worked()
    texts = await _texts(desk, MAP_TRACES, TRACE_BYTES, DIRECT_BYTES)
    if size.traces > len(texts):
        worked.sampled = True
        worked.not_examined.append(f"{size.traces - len(texts)} of {size.traces} traces were not shown to the model")
    prompt = prompts.DIRECT.format(
        untrusted=prompts.UNTRUSTED,
        data=prompts.marked("\n".join(texts)),
        task=task,
        rules=rules,
        shown=f"{len(texts)} of {size.traces}",
        steps=prompts.STEPS,
    )
    await final(session, verifier, prompt, worked)
    return worked


async def mapped(session: Session, desk: Desk, verifier: ClaimVerifier, *, task: str, rules: str, size: Size) -> Worked:
    """Read the traces in groups, many at once, and put together what was noted."""
    worked = Worked()
    texts = await _texts(desk, MAP_TRACES, GROUP_BYTES, MAP_BYTES)
    groups = _grouped(texts)
    asked = [
        prompts.MAP.format(
            untrusted=prompts.UNTRUSTED, data=prompts.marked("\n".join(group)), number=len(group), traces=size.traces,
            task=task, steps=prompts.STEPS, most=NOTES_A_TRACE * len(group), fields=prompts.FIELDS,
        )
        for group in groups
    ]  # fmt: skip
    results = await session.batch(asked, schema=NOTES)
    notes: list[dict[str, str]] = []
    unread, why = 0, ""
    for group, result in zip(groups, results, strict=True):
        if result.error is not None:
            unread += len(group)
            why = result.error.get("message", result.error.get("type", ""))[:300]
        else:
            notes += [item for item in result.value.get("notes", []) if isinstance(item, dict)]
    read = len(texts) - unread
    if size.traces > len(texts):
        worked.sampled = True
        worked.not_examined.append(
            f"{size.traces - len(texts)} of {size.traces} traces were not read by the model; "
            "those with errors came first"
        )
    if unread:
        worked.not_examined.append(f"{unread} of {size.traces} traces were not read by the model: {why}")
    if not read:
        worked.error = why
        return worked
    kept, rejected = await _verified(verifier, notes)
    lines = take(kept, REDUCE_BYTES)
    if len(lines) < len(kept):
        worked.not_examined.append(f"{len(kept) - len(lines)} of {len(kept)} notes did not fit the synthesis")
    prompt = prompts.REDUCE.format(
        untrusted=prompts.UNTRUSTED, read=read, traces=size.traces, task=task, rules=rules,
        data=prompts.marked("\n".join(orjson.dumps(line).decode() for line in lines)),
    )  # fmt: skip
    await final(session, verifier, prompt, worked)
    if worked.verified is not None:
        worked.verified.citations += rejected
        if rejected:
            worked.verified.reasons.append(f"notes of readers: {rejected} quotes are not in the spans they cite")
    return worked


def _grouped(texts: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    used = 0
    for text in texts:
        if not groups or used + size(text) > GROUP_BYTES:
            groups.append([])
            used = 0
        groups[-1].append(text)
        used += size(text)
    return groups


async def _verified(verifier: ClaimVerifier, notes: list[dict[str, str]]) -> tuple[list[dict[str, str]], int]:
    """Keep the notes whose quotes are found; one that was made up does not reach the synthesis."""
    names = ("trace_id", "span_id", "field", "quote")
    quotes = [Evidence(**{name: str(note.get(name) or "") for name in names}) for note in notes]
    standing = {(one.trace_id, one.span_id): one for one in await verifier.found_quotes(quotes)}
    kept = []
    for note, quote in zip(notes, quotes, strict=True):
        found = await verifier.found_quotes([quote]) if (quote.trace_id, quote.span_id) in standing else []
        if found:
            kept.append({**{name: str(value)[:600] for name, value in note.items()}, **found[0].model_dump()})
    return kept, len(notes) - len(kept)


async def final(
    session: Session, verifier: ClaimVerifier, prompt: str, worked: Worked, *, more: Sequence[dict[str, Any]] = ()
) -> None:
    """Ask for the answer, look at it, and send it back once when something does not stand. `more`: findings of ours."""
    messages = [Message("user", prompt)]
    for attempt in range(2):
        result = await session.ask(messages, schema=FINAL_ANSWER)
        if result.error is not None:
            if worked.verified is None:
                worked.error = result.error.get("message", result.error.get("type", "error"))
            return
        arguments = result.value if isinstance(result.value, dict) else {"answer": str(result.value)}
        given = [one for one in arguments.get("findings") or [] if isinstance(one, dict)] if more else []
        verified = await verifier.verify(arguments | {"findings": [*given, *more]} if more else arguments)
        # The second answer counts only where it is no worse: a repair may lose what stood.
        if worked.verified is None or _standing(verified) >= _standing(worked.verified):
            worked.verified = verified
        if not verified.problems or attempt:
            return
        problems = "\n".join(f"- {problem}" for problem in verified.problems)
        messages += [
            Message("assistant", json.dumps(arguments, ensure_ascii=False)),
            Message("user", prompts.REPAIR.format(problems=problems)),
        ]


def _standing(verified: VerifiedAnswer) -> int:
    return verified.standing + (verified.answer is not None)
