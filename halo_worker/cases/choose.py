"""Which traces become cases: one of each kind, not fifty of one, and passing ones that resemble them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halo_worker.report.identity import tokens

ALIKE = 0.5  # share of the words of two inputs (Jaccard) from which they are of one kind
RESEMBLES = 0.2  # below which a passing trace says nothing of a failing one


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trace by what it was given; `failure` is what its span says of the failure, empty for a passing one."""

    trace_id: str
    agent: str
    text: str
    failure: str = ""

    @property
    def words(self) -> frozenset[str]:
        """The words of its input, without ids and numbers."""
        return frozenset(tokens(self.text))


@dataclass(slots=True)
class Kind:
    """Traces that are alike, by the one that stands for them."""

    lead: Candidate
    members: list[Candidate] = field(default_factory=list)


def kinds(failing: Sequence[Candidate]) -> list[Kind]:
    """Sort failing traces into kinds, the largest first; the first of each, as given, stands for it."""
    found: list[Kind] = []
    for one in failing:
        kind = next((kind for kind in found if _alike(kind.lead, one)), None)
        if kind is None:
            found.append(Kind(one, [one]))
        else:
            kind.members.append(one)
    return sorted(found, key=lambda kind: -len(kind.members))


def _alike(one: Candidate, other: Candidate) -> bool:
    same_failure = tokens(one.failure) == tokens(other.failure)
    return one.agent == other.agent and same_failure and likeness(one, other) >= ALIKE


def likeness(one: Candidate, other: Candidate) -> float:
    """Return the share of words that two inputs have in common; two without words are the same."""
    together = one.words | other.words
    return len(one.words & other.words) / len(together) if together else 1.0


def controls(chosen: Sequence[Candidate], passing: Sequence[Candidate]) -> list[Candidate]:
    """Return for each chosen trace the passing one most like it, each once; of the same agent before others."""
    left, found = list(passing), []
    for one in chosen:
        best = max(left, key=lambda other: (other.agent == one.agent, likeness(one, other)), default=None)
        if best is not None and likeness(one, best) >= RESEMBLES:
            left.remove(best)
            found.append(best)
    return found
