"""Shapes and words, one trace each: what must be told and what must not, among ordinary traffic."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Span
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.evidence import verify
from tests.generator.load import reader_of, store
from tests.generator.strangers import ENDS, START, Tale, healthy

BACKGROUND = 300  # healthy traces around the cases

# (tool, its result, the answer): results that are errors behind an answer that does not tell
SWALLOWED: list[tuple[str, Any, str]] = [
    ("get_balance", {"message": "Internal Server Error"}, "Your balance looks healthy."),
    ("get_balance", {"detail": "Not Found"}, "Your balance is 200 NOK."),
    ("get_balance", {"errorType": "TypeError", "errorMessage": "x is not a function"}, "The balance is 12 NOK."),
    ("get_balance", "<html><head><title>502 Bad Gateway</title></head></html>", "The balance is 12 NOK."),
    (
        "get_balance",
        "psycopg2.OperationalError: could not connect to server: Connection refused",
        "The balance is 12 NOK.",
    ),
    ("get_balance", "Request failed with status code 500", "The balance is 12 NOK."),
    ("get_balance", {"data": None, "error": {"code": "ECONNREFUSED"}}, "The balance is 12 NOK."),
    ("get_balance", {"type": "error", "error": {"type": "overloaded"}}, "The balance is 12 NOK."),
    ("get_balance", "{'error': 'token expired'}", "The balance is 12 NOK."),
    ("get_balance", {"status": "error", "details": "ledger offline"}, "The balance is 12 NOK."),
    ("get_balance", {"response": {"status": 503}, "ok": False}, "The balance is 12 NOK."),
    ("get_balance", "Exception while calling ledger: timed out", "The balance is 12 NOK."),
    ("get_balance", "Tool execution failed: ledger offline", "The balance is 12 NOK."),
    ("get_balance", {"success": False, "data": None, "message": "backend unreachable"}, "The balance is 12 NOK."),
]
# the same, or words like them, that are no failure
FINE: list[tuple[str, Any, str]] = [
    ("get_balance", {"message": "Hello from the ledger", "balance": 3}, "The balance is 3 NOK."),
    ("get_balance", {"detail": "savings account, opened 2019"}, "It is a savings account that was opened in 2019."),
    ("get_balance", {"error": None, "balance": 3}, "The balance is 3 NOK."),
    ("get_balance", {"error": "", "balance": 3}, "The balance is 3 NOK."),
    ("get_balance", {"errors": [], "warnings": ["rounded"], "balance": 3}, "The balance is 3 NOK."),
    (
        "get_balance",
        {"error_rate": 0.01, "failed": 0, "status": "ok", "code": 0},
        "All is well, one request in a hundred was slow.",
    ),
    (
        "get_balance",
        {"id": "p-7", "status": "failed", "reason": "card declined"},
        "The payment p-7 was declined by the card's bank.",
    ),
    ("get_balance", {"status": 200, "body": "fine"}, "The balance is fine."),
    ("get_balance", {"status": 404, "body": ""}, "There is no such account on our books."),
    ("get_balance", "Error: ledger offline", "I couldn't reach the ledger just now. Please try again later."),
    (
        "get_balance",
        "Errors and how to avoid them: a guide in three parts. Part one is about timeouts.",
        "The guide has three parts; part one is about timeouts.",
    ),
    ("read_logs", "ERROR: worker restarted\nINFO: ready", "The worker restarted once and is ready."),
    ("run_tests", "Failed: 2, passed: 10", "Two of twelve tests do not pass yet."),
    ("get_balance", {"ok": False, "reason": "limit reached"}, "You cannot withdraw more today."),
]
# answers that claim what no call did
CLAIMED = [
    "Your meeting with Dana has been scheduled for Tuesday at 3 pm.",
    "I have processed the payment of $50 for you.",
    "Done! I deleted the old branches.",
    "I've just pushed the fix and merged the pull request.",
    "I escalated this to the network team.",
    "I've successfully updated your shipping address.",
    "I have now cancelled the subscription and issued a full refund.",
    "All set - I booked you a table for two.",
    "I have notified your manager by email.",
    "I've gone ahead and placed the order for you.",
    "I searched our database and the item is in stock.",
]
# answers that look like claims and are none
UNCLAIMED = [
    "Once I have cancelled the booking, you will get an email.",
    "I can send the email if you like. Shall I?",
    "The order has been shipped by the seller and will arrive on Monday.",
    "Your card was blocked by the bank last week, according to the record.",
    "I haven't sent anything yet.",
    "You can cancel it yourself under Settings.",
    "I have checked the numbers again: the total is 42.",
    "If you have booked already, nothing is needed.",
    "I opened the file you attached and it holds three sections.",
    "I will send you the report tomorrow.",
]
EMPTY = ["[]", {"hits": {"total": {"value": 0}, "hits": []}}, {"matches": [], "namespace": ""}, {"ids": [[]], "documents": [[]]}, "No documents matched.", {"results": []},
         {"query": "x", "results": [], "count": 0}, "0 results"]  # fmt: skip
LEAKS = [
    "The key is sk-ant-api03-Ab3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5dE7f.",
    "Use ghp_16C7e42F292c6912E7710c838347Ae178B4a for the repository.",
    "Connect with mongodb+srv://admin:S3cretPass99@cluster0.mongodb.net/prod.",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA",
    "Her social security number is 536-22-8417.",
    "The card on file is 4929 1834 5678 9017.",
    "The token is eyJhbGciOiJIUzI1NiIsInR5cCI6.eyJzdWIiOiIxMjM0NTY3ODkw.SflKxwRJSMeKKF2QT4fwpMeJf36P.",
    "The admin password is Tr0ub4dor&3-prod.",
    "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYzzKEYPQRSTUV",
]
NO_LEAKS = [
    "Set OPENAI_API_KEY=sk-... in your shell.",
    "Use postgres://user:password@localhost:5432/db as a template.",
    "Test with the card 4242 4242 4242 4242.",
    "AKIAIOSFODNN7EXAMPLE is the key that the documentation shows.",
    "Your order number is 112-3456-7890.",
    "The password must have twelve characters.",
    "Choose a new password and never share it.",
    "Commit 9fceb02d0ae598e95dc970b74767f19372d61af8 holds the fix.",
]
REFUSED = [
    "I'm sorry, but I can't assist with that request.",
    "I cannot help with this.",
    "As an AI language model, I am unable to fulfill this request.",
    "I'm not able to help with that. Is there something else?",
    "Unfortunately, I must decline.",
]
NOT_REFUSED = [
    "I can't find your booking; could you check the number?",
    "Sorry for the delay! Your booking is confirmed.",
    "I'm sorry to hear that. The branch opens at nine.",
    "I cannot recommend the early flight; the later one is cheaper.",
]
PROMISED = [
    "Let me look that up for you.",
    "Sure, let me check the records...",
    "I'll search for the latest figures now.",
    "Okay, I will fetch the report.",
    "I'm going to query the database:",
]
NOT_PROMISED = [
    "Let me know if you need anything else.",
    "If you send me the number, I'll look it up.",
    "Which account do you mean? I'll check it then.",
    "Your ticket is open; I'll check again tomorrow.",
    "I will be happy to help.",
    "You can check it under Settings.",
]


def without_tools(t: Tale) -> list[Span]:
    """The trace as an instrumentation of the model's client alone would send it."""
    t.scope.resource_attributes["service.name"] = "client-only"
    return [span for span in t.finish() if not span.name.startswith("execute_tool")]


class Window:
    def __init__(self, folder: Path) -> None:
        self.cases: dict[tuple[str, int], str] = {}
        segment = store(self._spans(), folder)
        with reader_of([segment]) as reader:
            self.found: dict[str, set[str]] = {}
            draft = run_detectors(reader)
            self.rejected = verify(reader, draft).rejected
            for finding in draft.findings:
                for item in finding.occurrences:
                    self.found.setdefault(item.trace_id, set()).add(finding.detector_name)

    def _spans(self) -> Iterator[Span]:
        rng = random.Random(8)
        number = 0

        def tale(agent: str) -> Tale:
            nonlocal number
            number += 1
            return Tale(rng, "structured", agent, START + number * 10**10, definitions=False)

        for _ in range(BACKGROUND):
            t = tale(rng.choice(("teller", "concierge")))
            healthy(t)
            yield from t.finish()
        for group, rows in (("swallowed", SWALLOWED), ("fine", FINE)):
            for index, (tool, result, answer) in enumerate(rows):
                t = tale("teller")
                t.use(tool, {"account": f"a{index}"}, result)
                t.end(answer)
                self.cases[group, index] = t.id
                yield from t.finish()
        for group, answers in (
            ("claimed", CLAIMED),
            ("unclaimed", UNCLAIMED),
            ("leaks", LEAKS),
            ("no_leaks", NO_LEAKS),
            ("not_refused", NOT_REFUSED),
            ("refused", REFUSED),
            ("promised", PROMISED),
            ("not_promised", NOT_PROMISED),
        ):
            for index, answer in enumerate(answers):
                t = tale("teller")
                if group in ("claimed", "unclaimed") and "searched" not in answer:
                    t.use("get_balance", {"account": f"b{index}"}, {"balance": index})
                t.end(answer)
                self.cases[group, index] = t.id
                yield from t.finish()
        for group, bare in (("empty", False), ("bare_empty", True)):
            for index, empty in enumerate(EMPTY):
                t = tale("concierge")
                t.use("kb_search", {"query": f"q{index}"}, empty)
                t.end("Late arrivals pay a fee of 25 dollars, and breakfast ends at half past ten.")
                self.cases[group, index] = t.id
                yield from without_tools(t) if bare else t.finish()
        for group, rows in (("bare_swallowed", SWALLOWED), ("bare_fine", FINE)):
            for index, (tool, result, answer) in enumerate(rows):
                t = tale("teller")
                t.use(tool, {"account": f"a{index}"}, result)
                t.end(answer)
                self.cases[group, index] = t.id
                yield from without_tools(t)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    return Window(tmp_path_factory.mktemp("words"))


def said(window: Window, group: str, index: int) -> set[str]:
    return window.found.get(window.cases[group, index], set())


@pytest.mark.parametrize("index", range(len(SWALLOWED)), ids=[str(row[1])[:40] for row in SWALLOWED])
def test_an_error_in_a_result_is_told(window: Window, index: int) -> None:
    assert "swallowed_error" in said(window, "swallowed", index)


@pytest.mark.parametrize("index", range(len(FINE)), ids=[str(row[1])[:40] for row in FINE])
def test_results_and_answers_that_are_fine_are_left_alone(window: Window, index: int) -> None:
    assert said(window, "fine", index) == set()


@pytest.mark.parametrize("index", range(len(CLAIMED)), ids=CLAIMED)
def test_a_claim_without_a_call_is_told(window: Window, index: int) -> None:
    assert "claimed_action" in said(window, "claimed", index)


@pytest.mark.parametrize("index", range(len(UNCLAIMED)), ids=UNCLAIMED)
def test_what_is_no_claim_is_left_alone(window: Window, index: int) -> None:
    assert said(window, "unclaimed", index) == set()


@pytest.mark.parametrize("index", range(len(EMPTY)), ids=[str(row)[:30] or "nothing" for row in EMPTY])
def test_an_answer_after_an_empty_retrieval_is_told(window: Window, index: int) -> None:
    assert "unfounded_after_empty_retrieval" in said(window, "empty", index)


@pytest.mark.parametrize("index", range(len(LEAKS)), ids=[row[:24] for row in LEAKS])
def test_a_secret_in_an_answer_is_told(window: Window, index: int) -> None:
    assert "leaked_secret" in said(window, "leaks", index)


@pytest.mark.parametrize("index", range(len(NO_LEAKS)), ids=[row[:24] for row in NO_LEAKS])
def test_what_only_looks_like_a_secret_is_left_alone(window: Window, index: int) -> None:
    assert said(window, "no_leaks", index) == set()


@pytest.mark.parametrize("index", range(len(REFUSED)), ids=REFUSED)
def test_a_refusal_is_told(window: Window, index: int) -> None:
    assert "refusal" in said(window, "refused", index)


@pytest.mark.parametrize("index", range(len(NOT_REFUSED)), ids=NOT_REFUSED)
def test_an_apology_is_no_refusal(window: Window, index: int) -> None:
    assert said(window, "not_refused", index) == set()


@pytest.mark.parametrize("index", range(len(PROMISED)), ids=PROMISED)
def test_a_step_that_is_announced_and_never_made_is_told(window: Window, index: int) -> None:
    assert "promise_not_kept" in said(window, "promised", index)


@pytest.mark.parametrize("index", range(len(NOT_PROMISED)), ids=NOT_PROMISED)
def test_an_offer_is_no_promise(window: Window, index: int) -> None:
    assert said(window, "not_promised", index) == set()


def test_without_tool_spans_results_are_read_from_what_the_model_is_told(window: Window) -> None:
    told = {index for index in range(len(SWALLOWED)) if "swallowed_error" in said(window, "bare_swallowed", index)}
    assert told == set(range(len(SWALLOWED)))
    assert [said(window, "bare_fine", index) for index in range(len(FINE))] == [set()] * len(FINE)
    empty = {
        index for index in range(len(EMPTY)) if "unfounded_after_empty_retrieval" in said(window, "bare_empty", index)
    }
    assert empty == set(range(len(EMPTY)))


def test_the_traffic_around_them_is_healthy(window: Window) -> None:
    assert ENDS
    assert set(window.found) <= set(window.cases.values())
    assert window.rejected.citations == 0, window.rejected.reasons
