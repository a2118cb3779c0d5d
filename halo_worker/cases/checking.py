"""Does the rule of a case fire on spans that were recorded just now: what a written test asserts."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker import inputs
from halo_worker.analysis import affected_spans, detectors
from halo_worker.analysis.detectors import capture
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.questions import Questions
from halo_worker.display import one_line
from halo_worker.errors import HaloError, InputError
from halo_worker.report.identity import alike, mask, tokens

MAX_SAID = 5
BUILT_IN = frozenset(unit.name for unit in detectors.DETECTORS)


class RuleBlind(HaloError):  # noqa: N818
    """The recorded spans lack what the rule needs to see anything, so that not firing says nothing."""


def fires(case: Mapping[str, Any], spans: bytes) -> list[str]:
    """Return where the rule of a case fires on spans (one OTLP message), a sentence each; empty where it does not.

    Raises InputError for a case without a rule, RuleBlind where the spans cannot show it.
    """
    rule = case.get("rule")
    if not rule:
        raise InputError(f"no rule: nothing measures case {case.get('id')} without a model")
    with tempfile.TemporaryDirectory(prefix="halo-case-") as folder:
        file = Path(folder) / "spans.pb"
        file.write_bytes(spans)
        read = inputs.write_segments([str(file)], Path(folder), now_ns=time.time_ns(), arrival="now")
        with Reader(read.segments) as reader:
            return fired(rule, reader, Path(folder))


def fired(rule: Mapping[str, Any], reader: Reader, work_dir: Path) -> list[str]:
    """Return where a rule fires in an open window, a sentence each."""
    if rule["kind"] == "sql":
        return _by_sql(str(rule["sql"]), reader, work_dir / "questions")
    own = _own(rule, work_dir)
    if own is None and {rule["name"], detectors.REPLACED.get(str(rule["name"]))}.isdisjoint(BUILT_IN):
        raise InputError(
            f"this build has no detector '{rule['name']}'", hint="run the cases with the halo-otel that wrote them"
        )
    every, ran = detectors.every_finding(reader, None, own)
    if own and ran.problems:
        raise InputError(f"the rule cannot be run: {ran.problems[0]}", hint="write the cases again with 'halo cases'")
    found = [one for one in every if same(rule, one)]
    if not found:
        lacks = next((one.lacks for one in capture.off(capture.captured(reader)) if one.name == rule["name"]), [])
        if lacks:
            raise RuleBlind(
                f"the recorded spans lack {' and '.join(lacks)}: {rule['name']} cannot see anything",
                hint="instrument the agent in the test as it is in production; 'halo doctor' says what to set",
            )
    return [_said(one) for one in found[:MAX_SAID]]


def _own(rule: Mapping[str, Any], work_dir: Path) -> detectors.Own | None:
    """Return the user's own detector that a case carries as text; None where the rule is one of halo's."""
    if not rule.get("text"):
        return None
    folder = work_dir / "rules"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rule.sql").write_text(str(rule["text"]), encoding="utf-8")
    return detectors.Own((folder,), frozenset(), work_dir / "own")


def same(rule: Mapping[str, Any], found: DraftFinding) -> bool:
    """Say whether a finding is the failure mode of a rule, also where its detector has another name by now."""
    name, signature = str(rule["name"]), str(rule["signature"])
    if found.detector_name not in (name, detectors.REPLACED.get(name)):
        return False
    return mask(found.key) == signature or alike(tokens(found.key), tokens(signature))


def _said(found: DraftFinding) -> str:
    quoted = next((f": {json.dumps(one_line(one.quote, 200), ensure_ascii=False)}" for one in found.evidence), "")
    return f"{one_line(found.title)}{quoted}"


def _by_sql(sql: str, reader: Reader, work_dir: Path) -> list[str]:
    async def named() -> list[str]:
        questions = Questions.of(reader, work_dir)
        try:
            found = await affected_spans.named_by(questions, sql)
        finally:
            await questions.close()
        if isinstance(found, str):
            raise InputError(found)
        shown = found.occurrences[:MAX_SAID]
        return [f"the rule's SQL names span {one.symptom_span_id} of trace {one.trace_id}" for one in shown]

    return asyncio.run(named())
