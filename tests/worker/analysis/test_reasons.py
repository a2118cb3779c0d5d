"""What a finding's title and cause say of its errors, made of texts as tools and SDKs write them."""

from __future__ import annotations

import pytest

from halo_worker.analysis.detectors import reasons
from halo_worker.analysis.detectors.reasons import Reasons, reason

TRACEBACK = """exitcode: 1 (execution failed)
Code output: Search Result 1: the tide
Traceback (most recent call last):
  File "/app/run.py", line 8, in <module>
    for result in results:
TypeError: cannot iterate
Search Result 2: the wind"""


@pytest.mark.parametrize(
    ("text", "error_type", "said"),
    [
        ("ledger offline", None, "ledger offline"),
        ("Exit code 127\n/bin/bash: line 1: rg: command not found", None, "rg: command not found"),
        ("Exit code 1", None, ""),
        ("<tool_use_error>File does not exist. Note: look first</tool_use_error>", None, "File does not exist"),
        ("Code failed at line 'a' due to: NameError: name is not defined", None, "NameError: name is not defined"),
        ("order 4711 not found", None, "order <n> not found"),
        ("42", "builtins.KeyError", "KeyError"),
        ("4711", None, ""),
        (TRACEBACK, None, "TypeError: cannot iterate"),
    ],
)
def test_a_reason_is_what_an_error_says_without_codes_marks_and_numbers(
    text: str, error_type: str | None, said: str
) -> None:
    assert reason(text, error_type) == said


def rows(*said: str, kind: str = "other") -> list[dict[str, str]]:
    """Return the rows of one finding, an error for each trace."""
    return [
        {"trace_id": str(number), "said": text, "error_type": "", "class": kind} for number, text in enumerate(said)
    ]


def test_errors_that_read_alike_are_one_reason_the_most_frequent_first() -> None:
    found = reasons._counted(rows("order 1 not found", "ledger offline", "order 23 not found", kind="not_found"))
    assert found == Reasons((("order <n> not found", 2), ("ledger offline", 1)), 3, "not_found")


def test_a_class_counts_where_most_errors_are_of_it() -> None:
    mixed = [*rows("a failed thing", kind="timeout"), *rows("another thing failed", kind="service")]
    assert reasons._counted(mixed).error_class == ""


def test_a_title_names_the_reason_of_most_traces_else_how_many_there_are() -> None:
    assert Reasons((("ledger offline", 3), ("no such order", 1)), 4).titled("get fails") == (
        'get fails: "ledger offline"'
    )
    assert Reasons((("ledger offline", 2), ("no such order", 2)), 4).titled("get fails") == "get fails, for 2 reasons"
    assert Reasons((("ledger offline", 1),), 1).titled("ledger offline again") == "ledger offline again"
    assert Reasons().titled("get fails") == "get fails"


def test_a_cause_counts_the_reasons_and_says_whether_the_same_call_can_work() -> None:
    some = tuple((f"reason {name}", 1) for name in "abcd")
    assert Reasons(some, 4, "timeout").cause == (
        '"reason a" in 1 of 4 traces; "reason b" in 1, "reason c" in 1 and 1 more. '
        "It can pass: the same call may work later."
    )
    assert Reasons((("no such order", 1),), 1, "not_found").cause == (
        '"no such order". The same call gets this error every time: to repeat it cannot help.'
    )
    assert Reasons().cause == ""
