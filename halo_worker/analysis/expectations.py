"""What an operator expects of the agents, in plain words: a part of what a model judges by; SQL where one measures it.

A Markdown file with one list item for each, and the SQL that names its broken spans in a fenced block below it:

    - E1: never promise a delivery date
    - E2 (agent: refunds): refunds above 200 EUR need a supervisor
      ```sql
      SELECT trace_id, span_id FROM spans WHERE tool_name = 'refund' AND …
      ```
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis.affected_spans import of_rule
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.learned_detectors import quoted
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.errors import ConfigError
from halo_worker.report.identity import fingerprint
from halo_worker.rlm.tool import ToolError

CATEGORY = "Instruction Non-compliance"
RULE = "expectation"  # begins the name of the rule that measures one
MAX_EXPECTATIONS = 50
MAX_TEXT = 500  # characters of one
VERSIONS = 1_000_000  # of SQL, told apart by its text

_ITEM = re.compile(
    r"^\s{0,3}[-*]\s+(?:(?P<id>[A-Za-z]\w{0,15})\s*)?(?:\(agent:\s*(?P<agent>[^)]+)\))?\s*:\s*(?P<text>\S.*)$"
)
_SQL = re.compile(r"^\s*```\s*sql\s*$(.*?)^\s*```\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation. `agent`: of which agent; None: of all. `sql` names the spans that break it."""

    id: str
    text: str
    agent: str | None = None
    sql: str | None = None

    @property
    def rule(self) -> str:
        """The name of the rule that measures it."""
        return f"{RULE} {self.id}"

    @property
    def version(self) -> int:
        """Its version: other SQL is another rule, whose counts do not compare."""
        return zlib.crc32(" ".join(self.agents_sql.split()).encode()) % VERSIONS

    @property
    def agents_sql(self) -> str:
        """Its SQL, of the spans of its agent where it is about one."""
        if self.agent is None:
            return self.sql or ""
        agent = self.agent.replace("'", "''")
        return (
            f"SELECT b.trace_id, b.span_id FROM ({(self.sql or '').strip().rstrip(';')}\n) b "
            f"JOIN spans s USING (trace_id, span_id) WHERE s.agent_name = '{agent}'"
        )

    @property
    def issue_id(self) -> str:
        """The id of the issue that it is broken: the same whoever says so, SQL or a model, in whatever words."""
        return fingerprint(CATEGORY, self.rule, self.id)

    @property
    def title(self) -> str:
        """The title of a finding that it is broken."""
        return f"Breaks expectation {self.id}: {self.text}"

    def line(self) -> str:
        """Write it for a model."""
        return f"{self.id}{f' (agent {self.agent})' if self.agent else ''}: {self.text}"


def read(path: Path | None) -> list[Expectation]:
    """Read the file of expectations; none without one. Raises ConfigError."""
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[analysis] expectations: {path} cannot be read: {error}") from None
    lines = text.splitlines()
    starts = [(number, match) for number, line in enumerate(lines) if (match := _ITEM.match(line))]
    found: list[Expectation] = []
    for place, (number, match) in enumerate(starts):
        end = starts[place + 1][0] if place + 1 < len(starts) else len(lines)
        sql = _SQL.search("\n".join(lines[number + 1 : end]))
        name = match["id"] or f"E{place + 1}"
        if name in [one.id for one in found]:
            raise ConfigError(f"[analysis] expectations: {path} names {name} twice", hint="give each an id of its own")
        agent = (match["agent"] or "").strip() or None
        found.append(Expectation(name, match["text"].strip()[:MAX_TEXT], agent, sql[1].strip() if sql else None))
    if not found:
        raise ConfigError(
            f"[analysis] expectations: {path} holds none", hint="one a line: '- E1: never promise a delivery date'"
        )
    if len(found) > MAX_EXPECTATIONS:
        raise ConfigError(f"[analysis] expectations: {path} holds {len(found)}, at most {MAX_EXPECTATIONS} are used")
    return found


def told(expectations: Sequence[Expectation]) -> str:
    """Write them for a model; empty without any."""
    if not expectations:
        return ""
    head = "Expectations of the operator; a broken one is a finding of its own, with its id as `expectation`:"
    return "\n".join((head, *(f"- {one.line()}" for one in expectations)))


_BREAKS = re.compile(r"\s*breaks\s+expectation\s+(\w+)", re.IGNORECASE)


def named(said: str | None, title: str, expected: Mapping[str, Expectation]) -> Expectation | None:
    """Return the expectation that a model's finding says is broken: by its id, or by a title that begins so."""
    match = _BREAKS.match(title)
    return expected.get((said or "").strip()) or (expected.get(match[1]) if match else None)


def broken(found: DraftFinding, one: Expectation) -> DraftFinding:
    """Return a model's finding as the issue that an expectation is broken, in the operator's words."""
    return replace(
        found, title=one.title, category=CATEGORY, key=one.text, issue_id=one.issue_id,
        fix_summary=found.fix_summary or "Make the agent keep to it, or change the expectation.",
    )  # fmt: skip


def measured(
    reader: Reader, expectations: Sequence[Expectation], temp_dir: Path, *, threads: int = 2
) -> tuple[list[DraftFinding], list[str]]:
    """Run their SQL over the window; return what breaks them, and what could not be measured."""
    wanted = [one for one in expectations if one.sql]
    return asyncio.run(_measured(reader, wanted, temp_dir, threads)) if wanted else ([], [])


def _unseen(reader: Reader, one: Expectation) -> list[str]:
    """Say what a rule that names nothing reads and no span of the window has: that says nothing of the agents."""
    columns = [row["column_name"] for row in reader.query("SELECT column_name FROM (DESCRIBE spans)")]
    read = [name for name in columns if re.search(rf"\b{name}\b", one.agents_sql)]
    counts = ", ".join(f"count({name}) AS {name}" for name in read)
    [found] = reader.query(f"SELECT count(*) AS _spans, {counts} FROM spans") if read else [{"_spans": 0}]
    empty = [name for name in read if not found[name]] if found["_spans"] else []
    return [f"expectation {one.id} was not measured: no span of this capture has {', '.join(empty)}"] if empty else []


async def _measured(
    reader: Reader, expectations: Sequence[Expectation], temp_dir: Path, threads: int
) -> tuple[list[DraftFinding], list[str]]:
    questions = Questions.of(reader, temp_dir, threads=threads)
    findings, notes = [], []
    try:
        for one in expectations:
            named = await of_rule(Desk(questions), one.agents_sql, 0)
            if isinstance(named, str):
                notes.append(f"expectation {one.id} was not measured: {named}")
            elif not named.occurrences:
                notes += _unseen(reader, one)
            else:
                findings.append(
                    DraftFinding(
                        title=one.title, description=f"The operator expects: {one.text}.", category=CATEGORY,
                        source="detector", confidence=0.9, key=one.text, detector_name=one.rule,
                        rule_version=one.version, sql=one.agents_sql,
                        occurrences=named.occurrences, spans_left_out=named.left_out,
                        evidence=await quoted(questions, named), root_cause="SQL of the operator names these spans.",
                        fix_summary="Make the agent keep to it, or change the expectation.",
                        fix_validation="The SQL names no span in the next window.",
                        issue_id=one.issue_id,
                    )
                )  # fmt: skip
    except ToolError as error:
        notes.append(f"{len(expectations)} expectations were not measured: {error}")
    finally:
        await questions.close()
    return findings, notes
