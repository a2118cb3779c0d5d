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

from halo_worker.analysis import prompts
from halo_worker.analysis.answer import FINAL_ANSWER
from halo_worker.analysis.claim_verification import ClaimVerifier, VerifiedAnswer
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.fit import take
from halo_worker.analysis.tools.steps import pages
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
TRACE_BYTES = 40_000  # of one trace in a prompt


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
    affordable = min(MAP_TOKENS, map_tokens(max_tokens))
    if size.tokens <= affordable and size.traces <= MAP_TRACES:
        return "judge", f"{about}: judged trace by trace (up to {MAP_TRACES} traces, {affordable} tokens)"
    return "loop", f"{about}: more than a map reads ({MAP_TRACES} traces, {affordable} tokens)"


def map_tokens(max_tokens: int | None) -> int:
    """Return how many tokens of traces a map may read: its share of the run's, where they are limited."""
    return MAP_TOKENS if max_tokens is None else int(max_tokens * MAP_SHARE)


async def texts_of(desk: Desk, trace_bytes: int, most_bytes: int) -> list[str]:
    """Return traces as numbered steps with span ids, those with errors first."""
    found = await desk.questions.rows(
        f"SELECT trace_id FROM traces ORDER BY error_count > 0 DESC, hash(trace_id), trace_id LIMIT {MAP_TRACES}"
    )
    ids = [row["trace_id"] for row in found.rows]
    shown = await asyncio.gather(*(pages(desk, one, trace_bytes, ids=True) for one in ids))
    texts = take(["\n".join(page.text for page in every) for every in shown], most_bytes)
    desk.opened.update(ids[: len(texts)])
    return texts


async def direct(session: Session, desk: Desk, verifier: ClaimVerifier, *, task: str, rules: str, size: Size) -> Worked:
    """Show everything in one call."""
    worked = Worked()
    texts = await texts_of(desk, TRACE_BYTES, DIRECT_BYTES)
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
