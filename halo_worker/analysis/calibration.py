"""How sure a finding is: the precision that its detector had on labelled sets, drawn towards a prior.

`detectors/confidence.toml` is made by `benchmarks/calibrate.py`. A detector that no labelled set has hits of keeps what
its author states, drawn towards the same prior. Below `NOTE` what it finds is a note, not a finding.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

PRIOR = 0.75  # of a hit whose detector is not known
STRENGTH = 20  # hits that the prior is worth: less of it did worse on a set that was left out (benchmarks/README.md)
STATED = 20  # hits that a statement of the author is worth
MOST = 60  # hits that count at most: sets are few, and other people's traffic is unlike them
NOTE = 0.5
FILE = Path(__file__).parent / "detectors" / "confidence.toml"


def shrunk(precision: float, hits: int) -> float:
    """Draw a precision that was seen in some hits towards the prior."""
    weight = min(hits, MOST)
    return (precision * weight + PRIOR * STRENGTH) / (weight + STRENGTH)


@cache
def _seen() -> dict[str, tuple[float, int]]:
    if not FILE.exists():
        return {}
    data = tomllib.loads(FILE.read_text("utf-8"))
    return {name: (row["precision"], row["hits"]) for name, row in data.items()}


def certainty(detector: str, stated: float) -> float:
    """Return how often a detector is right, from 0 to 1: what its author states and what labelled sets showed, each by
    its hits. It is not drawn towards the prior of a detector that nobody knows, as `confidence` is.
    """
    precision, hits = _seen().get(detector, (stated, 0))
    counted = min(hits, MOST)
    return round((stated * STATED + precision * counted) / (STATED + counted), 3)


def confidence(detector: str, stated: float) -> float:
    """Return the confidence of a detector's findings, from 0 to 1."""
    precision, hits = _seen().get(detector, (stated, STATED))
    return round(shrunk(precision, hits), 3)
