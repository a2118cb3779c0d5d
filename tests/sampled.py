"""The first of many like cases in the gate, the others marked `long`: `.ci/extended` runs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], count: int) -> list[Any]:
    """Return values for `parametrize`, marked `long` after the first `count`. A tuple is a row of arguments."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*row, marks=[pytest.mark.long] if number >= count else []) for number, row in enumerate(rows)]
