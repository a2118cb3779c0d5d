"""A supervisor with specialists that write market briefs. OpenTelemetry GenAI conventions."""

from __future__ import annotations

import json
import random

from halo_worker.demo.conventions import GenAI
from halo_worker.demo.recorder import Agent, Conversation, Failure, Tool

PLANNER = (
    'You lead a research desk. Plan the brief as JSON {"steps": [{"agent", "task"}]}, hand the steps to your '
    "specialists (researcher, analyst, writer) and return the writer's text."
)
SPECIALIST = (
    "You are the {role} of a research desk. Do the task you are given, with your tools, and report what you found."
)
SEARCH = Tool("web_search", "Search the web.", {"query": {"type": "string"}})
FETCH = Tool("fetch_page", "Read a page.", {"url": {"type": "string"}})
HAND_OVER = Tool(
    "transfer_to", "Hand the task to another specialist.", {"agent": {"type": "string"}, "reason": {"type": "string"}}
)
TOPICS = (
    ("heat pumps in Northern Italy", "installations grew 18 % in 2025 after the tax credit was renewed"),
    ("refurbished laptops in Poland", "prices fell 9 % while returns stayed below 4 %"),
    ("oat milk in the United Kingdom", "two retailers hold 61 % of private-label volume"),
    ("cargo bikes for parcel delivery", "operators report 22 % lower cost a stop inside ring roads"),
    ("solar leasing in Spain", "defaults stayed under 1.2 % in the first five years"),
    ("school tablets in Denmark", "municipalities extend the life of devices from 4 to 6 years"),
)  # fmt: skip


def agent(version: str) -> Agent:
    """The supervisor."""
    return Agent("research-supervisor", "research-desk", version, "gpt-4.1-2025-04-14", "openai", PLANNER, GenAI())


def _specialist(c: Conversation, role: str, *tools: Tool) -> Agent:
    system = SPECIALIST.format(role=role)
    return Agent(role, c.agent.service, c.agent.version, "gpt-4o-mini-2024-07-18", "openai", system, GenAI(), tools)


def _topic(c: Conversation) -> tuple[str, str]:
    return next(topic for topic in TOPICS if topic[0] in c.messages[0].text)


def _plan(topic: str, depth: int) -> str:
    steps = [{"agent": "researcher", "task": f"Find recent sources on {topic}"}]
    steps += [
        {"agent": "analyst", "task": f"Check figure {number} on {topic} against a second source"}
        for number in range(1, depth)
    ]
    return json.dumps({"steps": [*steps, {"agent": "writer", "task": f"Write a one-page brief on {topic}"}]})


def _research(c: Conversation, topic: str, fact: str) -> None:
    with c.delegate(_specialist(c, "researcher", SEARCH, FETCH), f"Find recent sources on {topic}") as researcher:
        host = c.rng.choice(("marketwire.example", "statistics.example", "tradejournal.example"))
        url = f"https://{host}/{c.rng.randrange(2024, 2027)}/{topic.split()[0]}-{c.rng.randrange(100, 999)}"
        researcher.use("web_search", {"query": f"{topic} market figures"}, [{"title": f"{topic}: figures", "url": url}])
        researcher.use(
            "fetch_page",
            {"url": url},
            f"{topic.capitalize()}: {fact}. Survey of {c.rng.randrange(80, 900)} firms.",
            seconds=1.2,
        )
        researcher.ask(f"One good source: {fact} ({url}).")


def _write(c: Conversation, topic: str, fact: str) -> None:
    with c.delegate(_specialist(c, "writer"), f"Write a one-page brief on {topic}. Facts: {fact}") as writer:
        writer.ask(
            f"Brief: {topic}\n\nIn short: {fact}. We expect the trend to hold for four quarters; the main risk is policy."
        )
    c.ask(f"Here is the brief on {topic}. In short: {fact}.")


def brief(c: Conversation) -> None:
    """Planned, researched, written."""
    topic, fact = _topic(c)
    c.ask(_plan(topic, 1))
    _research(c, topic, fact)
    _write(c, topic, fact)


def brief_with_check(c: Conversation) -> None:
    """With an analyst who checks a figure."""
    topic, fact = _topic(c)
    c.ask(_plan(topic, 2))
    _research(c, topic, fact)
    with c.delegate(_specialist(c, "analyst", SEARCH), f"Check: {fact}") as analyst:
        analyst.use(
            "web_search", {"query": f"{topic} official statistics"}, [{"title": "Official series", "snippet": fact}]
        )
        analyst.ask("Confirmed by the official series.")
    _write(c, topic, fact)


def dead_link_handled(c: Conversation) -> None:
    """Looks like a failure and is none: one page is gone, another has the same."""
    topic, fact = _topic(c)
    c.ask(_plan(topic, 1))
    with c.delegate(_specialist(c, "researcher", SEARCH, FETCH), f"Find recent sources on {topic}") as researcher:
        first, second = (f"https://statistics.example/{c.rng.randrange(1000, 9999)}" for _ in range(2))
        researcher.use("web_search", {"query": f"{topic} 2026"}, [{"url": first}, {"url": second}])
        researcher.use("fetch_page", {"url": first}, failure=Failure("HTTPError", "404 Not Found", "desk/web.py"))
        researcher.use("fetch_page", {"url": second}, f"{topic.capitalize()}: {fact}.", seconds=1.0)
        researcher.ask(f"The first page is gone; the second says: {fact} ({second}).")
    _write(c, topic, fact)


def truncated_plan(c: Conversation) -> None:
    """The plan is cut at the token limit, cannot be parsed, and there is no brief."""
    topic, _ = _topic(c)
    whole = _plan(topic, 9)
    cut = whole[: len(whole) * 2 // 3]
    c.ask(cut, finish="length", max_tokens=256)
    broken = Failure(
        "JSONDecodeError",
        f"Unterminated string starting at: line 1 column {len(cut) - 20} (char {len(cut) - 21})",
        "desk/plan.py",
    )
    with c.step("parse_plan", {"desk.step": "parse_plan", "desk.plan": cut}, failure=broken):
        c.clock.spend(0.002)
    c.fail(broken)


def ping_pong(c: Conversation) -> None:
    """Two specialists hand the task to each other until the supervisor gives up."""
    topic, _ = _topic(c)
    c.ask(_plan(topic, 2))
    for turn in range(c.rng.randrange(6, 9)):
        role, other = ("researcher", "analyst") if turn % 2 == 0 else ("analyst", "researcher")
        with c.delegate(_specialist(c, role, SEARCH, HAND_OVER), f"Get a reliable figure for {topic}") as specialist:
            reason = "needs a source first" if role == "analyst" else "needs a check of the figure first"
            specialist.use("transfer_to", {"agent": other, "reason": reason}, {"transferred_to": other})
            specialist.ask(f"Handed over to the {other}: {reason}.")
    c.ask(f"My specialists could not agree on a figure for {topic}, so there is no brief.")


def rate_limited(c: Conversation) -> None:
    """The provider's quota is used up, and the desk retries without waiting."""
    limit = Failure(
        "RateLimitError", f"429: rate limit reached for {c.agent.model} on tokens per minute: limit 450000", "openai/_base_client.py"
    )  # fmt: skip
    for _ in range(c.rng.randrange(4, 7)):
        c.ask(failure=limit, seconds=0.25)
    c.fail(limit)


def question(name: str, rng: random.Random) -> str:
    """What is to be researched."""
    topic = rng.choice(TOPICS)[0]
    return rng.choice(
        (f"Write a one-page brief on {topic}.", f"What should we know about {topic}?", f"Market brief, please: {topic}")
    )
