"""Sentences of answers that claim an action, by the forms of `lexicon/claims.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from halo_receiver.store.reader import Reader
from halo_worker.analysis.lexicon.files import quoted, read

_ADVERBS = "((just|already|now|also|successfully|immediately|gone ahead and|went ahead and) )*"
_I_DID = rf"\bI( ?['’]ve| have|) {_ADVERBS}"
_WAS_DONE = r"\b(has|have) (now |just |already |successfully |also )*been (successfully |now )*"
_IF = r"\b(once|after|when|if|until|before|unless|whether|as soon as) (I('ve| have|)|\w+ \w+) (\w+ ){0,3}"


@dataclass(frozen=True, slots=True)
class Claim:
    """An action that an agent may say it has done. `done` and `tool` are patterns: its words, and those of a tool's
    name that does it; `claimed` completes "AGENT claims …"."""

    name: str
    done: str
    tool: str
    claimed: str
    examples: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()

    @property
    def by_itself(self) -> str:
        """The claim in the first person."""
        return rf"(?i){_I_DID}{self.done}\b"

    @property
    def said(self) -> str:
        """The claim in the first person, or in the passive."""
        return rf"{_I_DID}{self.done}\b|{_WAS_DONE}{self.done}\b"


@cache
def known() -> tuple[Claim, ...]:
    """Return the claims of the lexicon."""
    return tuple(
        Claim(
            row["name"], f"({'|'.join(map(''.join, row['done']))})", "|".join(row["tool"]), row["claimed"],
            tuple(row["is"]), tuple(row["is_not"]),
        )
        for row in read("claims")["claim"]
    )  # fmt: skip


def _of(claim: Claim) -> str:
    said = quoted(f"(?i){claim.said}")
    sentence = quoted(rf"(?i)[^.!?\n]*({claim.said})[^.!?\n]*")
    return f"""
      SELECT {quoted(claim.name)} AS claim, trace_id, span_id, subject, service_name, quote, by_itself,
        regexp_matches(quote, {quoted(f"(?i){_IF}{claim.done}")}) AS conditional,
        {quoted(f"(?i)({claim.tool})")} AS tool
      FROM (
        SELECT *, claimant(agent_name, service_name) AS subject, regexp_extract(answer, {sentence}) AS quote,
          regexp_matches(answer, {quoted(claim.by_itself)}) AS by_itself
        FROM _claiming WHERE regexp_matches(answer, {said})
      )
    """


def prepare(reader: Reader) -> None:
    """Make `_claims`. Needs `answers`."""
    execute = reader.connection.execute
    execute("CREATE OR REPLACE TEMP TABLE _claiming AS SELECT * FROM answers WHERE may_claim(answer)")
    execute(f"CREATE OR REPLACE TEMP TABLE _claims AS {' UNION ALL '.join(map(_of, known()))}")
