"""What failed calls have in common: told where it holds of them and not of others, and of nothing that nearly does."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from halo_worker.analysis.common_traits import Call, compare
from halo_worker.report.facts import Common

PRICES = (129.0, 189.5, 64.0, 118.0, 39.9, 72.5, 349.0, 12.0)
TOTAL = "total of lookup_order"


def refunds(
    failed: int, fine: int, *, times: float = 100, fine_times: float = 1, says: str = "", total: bool = True
) -> list[Call]:
    """Refunds of orders: `failed` ones ask for `times` the total, `fine` ones for `fine_times` of it."""
    calls = []
    for n in range(failed + fine):
        price, bad = PRICES[n % len(PRICES)], n < failed
        amount = round(price * (times if bad else fine_times), 4)
        error = (says or "refund amount {amount} exceeds the order total of {price} EUR") if bad else ""
        calls.append(
            Call(
                affected=bad, start_ns=n, version="2.4.0" if bad else "2.3.1",
                arguments={"amount": str(amount), "order_id": f"LO-{100 + n}"},
                error=error.format(amount=f"{amount:.2f}", price=f"{price:.2f}"),
                earlier={TOTAL: str(price)} if total else {},
            )
        )  # fmt: skip
    return calls


def kinds(found: Sequence[Common]) -> list[str]:
    return [one.kind for one in found]


def ratio(calls: Sequence[Call]) -> Common | None:
    return next((one for one in compare(calls) if one.kind == "ratio"), None)


def test_a_ratio_is_told_with_both_numbers_as_they_stand_in_the_call() -> None:
    found = ratio(refunds(8, 12))
    assert found is not None
    assert (found.name, found.value, found.ratio, found.rejected) == ("amount", "order total", 100, True)
    assert found.example == ("12900.0", "129.00")
    assert (found.affected, found.affected_of, found.others, found.others_of) == (8, 8, 0, 12)


def test_a_ratio_stands_in_the_error_or_in_an_earlier_result_else_it_is_not_told() -> None:
    silent = {"says": "refused by the bank"}
    from_result = ratio(refunds(8, 12, **silent))  # type: ignore[arg-type]
    assert from_result is not None
    assert (from_result.value, from_result.rejected) == (TOTAL, False)
    assert ratio(refunds(8, 12, total=False)) is not None, "the error alone names both"
    assert ratio(refunds(8, 12, total=False, **silent)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("why", "calls"),
    [
        ("two failed calls are too few", refunds(2, 12)),
        ("the others have it too", refunds(8, 12, fine_times=100)),
        ("two of twelve others have it", [*refunds(8, 10), *refunds(0, 2, fine_times=100)]),
        ("one and the same number", refunds(8, 12, times=1)),
        ("only five of eight have it", [*refunds(5, 12), *refunds(3, 0, times=90)]),
        ("constants have a constant ratio", [Call(affected=n < 5, arguments={"timeout": "30"}, error="no answer within 10 s" if n < 5 else "") for n in range(20)]),
        ("an error without numbers, no result", refunds(8, 12, says="refused", total=False)),
        ("a version is no number", [Call(affected=n < 5, arguments={"n": str(n + 1)}, error=f"v{10 * (n + 1)}.x failed" if n < 5 else "") for n in range(20)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_ratio_is_not_told_where_it_only_nearly_holds(why: str, calls: list[Call]) -> None:
    assert ratio(calls) is None, why


def test_four_of_five_are_enough_and_one_of_ten_others_may_have_it() -> None:
    calls = [*refunds(8, 19), *refunds(2, 0, times=90), *refunds(0, 1, fine_times=100)]
    found = ratio(calls)
    assert found is not None
    assert (found.affected, found.affected_of, found.others, found.others_of) == (8, 10, 1, 20)


def arguments(failed: Sequence[Any], fine: Sequence[Any], name: str = "limit") -> list[Call]:
    return [
        *(Call(affected=True, arguments={name: value}) for value in failed),
        *(Call(affected=False, arguments={name: value}) for value in fine),
    ]


@pytest.mark.parametrize(
    ("failed", "fine", "said"),
    [
        (["5000", "7000", "6000"], ["10", "20", "300", "40", "50", "60"], ["≥ 5,000"]),
        (["-5", "-7", "-6"], ["10", "20", "300", "40", "50", "60"], ["≤ -5"]),
        (["USD"] * 4, ["EUR", "GBP", "EUR", "CHF", "EUR"], ["= USD"]),
        (["True"] * 4, ["False"] * 6, ["= True"]),
        (["5000", "7000", "6000", "6500", "10"], ["10", "20", "30", "40", "50", "60"], ["≥ 5,000"]),
        (["5000", "7000", "6000"], ["10", "20", "300", "40", "50", "9000"], []),  # one of six others
        (["5000", "7000", "6000"], ["10", "20"], []),  # too few others
        (["5000", "7000", "6000"], [], []),
        (["5000", "7000"], ["10", "20", "300", "40", "50", "60"], []),  # too few failed
        (["5000", "7000", "10"], ["10", "20", "300", "40", "50", "60"], []),  # two of three
        (["USD"] * 4, ["USD", "GBP", "EUR", "CHF", "EUR"], []),  # one of five others
        (["5", "7", "6"], ["1", "2", "3"], []),  # three against three: chance does so once in ten
    ],
)
def test_arguments_are_told_where_they_set_failed_calls_apart(failed: list[str], fine: list[str], said: list[str]) -> None:  # fmt: skip
    assert [one.value for one in compare(arguments(failed, fine)) if one.kind == "argument"] == said


def test_a_version_is_told_where_others_are_called_too() -> None:
    assert [one.value for one in compare(refunds(8, 12)) if one.kind == "version"] == ["2.4.0"]
    same = [Call(affected=n < 5, version="2.4.0") for n in range(20)]
    assert "version" not in kinds(compare(same))
