"""Sentences of answers that claim an action, by the forms of `lexicon/claims.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from halo_receiver.store.reader import Reader
from halo_worker.analysis.lexicon.files import quoted, read

_ADVERBS = "((just|already|now|also|successfully|immediately|gone ahead and|went ahead and) )*"
_I_DID = rf"\bI( ?['’]ve| have|) {_ADVERBS}"
# What the same subject did before: I went through your invoices and opened a ticket.
_I_ALSO = (
    rf"\bI( ?['’]ve| have|) {_ADVERBS}(\w+ed|went|took|got|found|saw|sent|made|ran|put|set|wrote|read|spoke|had)\b"
    rf"[^.!?;:\n]{{1,80}}\b(and|then) {_ADVERBS}"
)
# Without a subject, at the start of a sentence: Booked the slot. What was done is named right after.
_DONE_FIRST = rf"(?:^|[.!?:\n])\s*([-*•] )?(done[:,.!] )?{_ADVERBS}"
_OBJECT = (
    r"^\W*(\w+ly |\w+: )?[a-z]+( (up|out|over|back|in))? (the|your|a|an|it|that|this|you|all|both|them|everyone)\b"
)
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
        return rf"(?i)({_I_DID}|{_I_ALSO}){self.done}\b"

    @property
    def without_subject(self) -> str:
        """The claim by its verb alone, where a sentence begins with it."""
        return rf"(?i){_DONE_FIRST}{self.done}\b"

    @property
    def said(self) -> str:
        """The claim in the first person, or in the passive."""
        return rf"({_I_DID}|{_I_ALSO}|{_WAS_DONE}|{_DONE_FIRST}){self.done}\b"


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
      SELECT * EXCLUDE (named, said) FROM (
        SELECT {quoted(claim.name)} AS claim, trace_id, span_id, subject, service_name, quote,
          regexp_matches(answer, {quoted(claim.by_itself)}) AS said,
          regexp_matches(answer, {quoted(claim.without_subject)})
            AND regexp_matches(quote, {quoted(f"(?i){_OBJECT}")}) AS named,
          said OR named AS by_itself,
          regexp_matches(answer, {quoted(f"(?i){_WAS_DONE}{claim.done}")}) AS passive,
          regexp_matches(quote, {quoted(f"(?i){_IF}{claim.done}")}) AS conditional,
          {quoted(f"(?i)({claim.tool})")} AS tool
        FROM (
          SELECT *, claimant(agent_name, service_name) AS subject,
            ltrim(regexp_extract(answer, {sentence}), ' .!?:' || chr(10)) AS quote
          FROM _claiming WHERE regexp_matches(answer, {said})
        )
      ) WHERE by_itself OR passive
    """


# The answers to users, and those of agents within a run: the last turn of each, where others speak after it.
_CLAIMING = """
  CREATE OR REPLACE TEMP TABLE _claiming AS
  SELECT trace_id, span_id, agent_name, service_name, answer FROM answers WHERE may_claim(answer)
  UNION ALL
  SELECT trace_id, span_id, agent_name, service_name, output_head FROM (
    SELECT trace_id, span_id, parent_span_id, agent_name, service_name, output_head FROM steps
    SEMI JOIN (
      SELECT trace_id FROM steps WHERE span_type = 'llm' GROUP BY ALL HAVING min(parent_span_id) <> max(parent_span_id)
    ) USING (trace_id)
    ANTI JOIN asides USING (trace_id, span_id) ANTI JOIN judging USING (trace_id, span_id)
    WHERE span_type = 'llm' AND calls = 0 AND NOT failed AND output_length > 0
    QUALIFY count(DISTINCT parent_span_id) OVER (PARTITION BY trace_id) > 1
      AND row_number() OVER (PARTITION BY trace_id, parent_span_id ORDER BY start_time DESC) = 1
  ) ANTI JOIN answers USING (trace_id, span_id) WHERE may_claim(output_head)
"""


def prepare(reader: Reader) -> None:
    """Make `_claims`. Needs `answers`, `asides` and `judging`."""
    execute = reader.connection.execute
    execute(_CLAIMING)
    # Forms take time to compile: the sentences are looked for of those claims alone that some answer makes.
    tests = ", ".join(f"bool_or(regexp_matches(answer, {quoted(f'(?i){claim.said}')}))" for claim in known())
    [found] = execute(f"SELECT {tests} FROM _claiming").fetchall()
    made = [claim for claim, one in zip(known(), found, strict=True) if one] or known()[:1]
    execute(f"CREATE OR REPLACE TEMP TABLE _claims AS {' UNION ALL '.join(map(_of, made))}")
