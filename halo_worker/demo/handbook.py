"""A retrieval agent that answers from a company's handbook. OpenInference."""

from __future__ import annotations

import random

from halo_worker.demo.conventions import OpenInference
from halo_worker.demo.recorder import Agent, Conversation

SYSTEM = (
    "Answer questions of employees from the handbook excerpts that are given. Cite the excerpt as [n]. When the excerpts "
    "do not hold the answer, say so and name the team to ask."
)
INDEX = "handbook-v3"
# question, the passage that answers it, the answer, and what a model says without the passage
ENTRIES = (
    ("How many days of parental leave do I get?", "Parental leave is 26 weeks at full pay for every parent, taken within two years.",
     "You get 26 weeks at full pay, to be taken within two years [1].",
     "You get 14 weeks at 80 % of your pay, and your manager has to agree in writing."),
    ("Can I expense a monitor for my home office?", "Home office equipment up to 600 € a year is reimbursed; monitors count.",
     "Yes: up to 600 € a year is reimbursed for home equipment, monitors included [1].",
     "Yes, up to 1,000 € a year. Submit the receipt in the finance portal under 'other'."),
    ("What is the on-call compensation?", "On-call weeks pay 350 €, plus time off in lieu for any page at night.",
     "An on-call week pays 350 €, and a page at night gives time off in lieu [1].",
     "An on-call week pays 500 €, and each page another 50 €."),
    ("How do I rotate a production database password?", "Rotate secrets with `vaultctl rotate db/NAME`; services reload within 5 minutes.",
     "Run `vaultctl rotate db/NAME`; services pick it up within five minutes [1].",
     "Open a ticket with the database team; a rotation takes two working days and needs a short outage."),
    ("What does our API return for a deleted project?", "A deleted project answers HTTP 404 with code project_gone; errors carry a request id.",
     "It returns HTTP 404 with the code project_gone, and a request id like every error [1].",
     "It returns HTTP 410 with an empty body."),
    ("Wie viele Urlaubstage habe ich?", "Full-time employees have 30 days of leave; unused days expire on 31 March.",
     "Du hast 30 Urlaubstage; nicht genommene verfallen am 31. März [1].",
     "Du hast 25 Urlaubstage; nicht genommene werden am Jahresende ausbezahlt."),
    ("Who approves travel over 2,000 €?", "Travel above 2,000 € needs approval by the head of the department before booking.",
     "The head of your department, before you book [1].",
     "Travel above 2,000 € needs the signature of the finance director, also after booking."),
    ("What is the error budget of the checkout service?", "Checkout has a 99.95 % SLO; deploys freeze when 80 % of the error budget is spent.",
     "Checkout runs at 99.95 %, and deploys freeze once 80 % of the error budget is spent [1].",
     "Checkout runs at 99.9 %, which leaves 43 minutes a month."),
    ("Is there a policy on using AI assistants with customer data?", "Customer data may go to approved assistants only; the list is on the security page.",
     "Only to approved assistants; the list is on the security page [1].",
     "Yes, any assistant may be used as long as names are removed first."),
    ("How do I report a security incident?", "Report incidents to the hotline or #sec-incident within one hour; do not investigate alone.",
     "Tell the hotline or #sec-incident within one hour, and do not investigate alone [1].",
     "Send a mail to your manager within two working days and describe what you found out."),
)  # fmt: skip
FILLER = (
    "Offices open at 7:00 and close at 20:00; badges work on weekends on request.",
    "Laptops are replaced every three years. Return the old one to the service desk.",
    "Interviewers are trained; feedback is written before the debrief.",
    "A failed deployment is rolled back first and analysed afterwards.",
    "Benefits include a mobility budget, language classes and a pension plan.",
)


def agent(version: str) -> Agent:
    """The handbook assistant."""
    return Agent(
        "handbook-assistant", "handbook-rag", version, "gpt-4.1-mini-2025-04-14", "openai", SYSTEM, OpenInference()
    )


def _documents(rng: random.Random, passage: str) -> list[tuple[str, str, float]]:
    others = rng.sample(FILLER, 3)
    scores = sorted((rng.uniform(0.55, 0.78) for _ in others), reverse=True)
    found = [(f"hb-{rng.randrange(100, 999)}", passage, round(rng.uniform(0.81, 0.95), 3))]
    return found + [
        (f"hb-{rng.randrange(100, 999)}", text, round(score, 3)) for text, score in zip(others, scores, strict=True)
    ]


def _entry(c: Conversation) -> tuple[str, str, str, str]:
    return next(entry for entry in ENTRIES if entry[0] == c.messages[0].text)


def _look_up(c: Conversation, *, found: bool = True) -> str:
    asked = c.messages[0].text
    _, passage, answer, _ = _entry(c)
    c.embed(asked, "text-embedding-3-small")
    c.retrieve(asked, _documents(c.rng, passage) if found else [], source=INDEX)
    return answer


def answered(c: Conversation) -> None:
    """Found, read, answered with a citation."""
    c.ask(_look_up(c))


def followed_up(c: Conversation) -> None:
    """A second question in the same conversation."""
    c.ask(_look_up(c))
    question, passage, answer, _ = c.rng.choice(ENTRIES)
    c.embed(question, "text-embedding-3-small")
    c.retrieve(question, _documents(c.rng, passage), source=INDEX)
    c.ask(answer)


def honest_about_nothing(c: Conversation) -> None:
    """Looks like a failure and is none: nothing was found, and the agent says so."""
    _look_up(c, found=False)
    c.ask("I could not find this in the handbook. The people team can tell you: #ask-people.")


def invented_answer(c: Conversation) -> None:
    """While the index is rebuilt the search finds nothing, and the agent answers all the same."""
    _look_up(c, found=False)
    c.ask(_entry(c)[3])


def empty_answer(c: Conversation) -> None:
    """The model stops without a word."""
    _look_up(c)
    c.ask("")


def question(name: str, rng: random.Random) -> str:
    """What the employee asks."""
    return rng.choice(ENTRIES)[0]
