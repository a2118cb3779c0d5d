"""Facts of a finding beyond its counts: the calls that failed, where, who was told otherwise, what it took.

All are computed from the store, of all findings together; what cannot be said of nearly all of them is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis import call_samples, common_traits
from halo_worker.analysis.detectors import claims
from halo_worker.analysis.evidence import VerifiedFinding
from halo_worker.display import NAME_CHARACTERS, VALUE_CHARACTERS, one_line
from halo_worker.report.facts import Calls, Common, Impact, Place, ToldOtherwise

NEARLY_ALL = 0.9  # of the affected, from which they are said to have one agent, one version
MOST = 0.8  # of the errors, from which what they say is said of all
CLAIM = "claimed_action"  # the detector of answers that claim what was not done
# After a word for it, or at the start and followed by its name.
HTTP_STATUS = re.compile(
    r"(?i)\b(?:https?|status|code|error|response|answered)\b[^\w\n]{0,3}(?:code\b\W{0,3})?([45]\d\d)\b"
    r"|(?:^|\n)\W{0,3}([45]\d\d)(?::| (?:too many|not found|bad|internal|service|gateway|forbidden|unauth|server))"
)
MAX_COMPARED = 40  # findings whose calls are compared with others, the largest

# The affected spans of each finding; of a call that several spans tell, the outermost.
_HITS = f"""
  CREATE OR REPLACE TEMP TABLE _hit_calls AS
  WITH outermost AS (
    SELECT trace_id, span_id, any_value(outer_span_id) AS outer_span_id FROM _inner i
    WHERE NOT EXISTS (SELECT 1 FROM _inner o WHERE o.trace_id = i.trace_id AND o.span_id = i.outer_span_id)
    GROUP BY ALL
  )
  SELECT DISTINCT h.finding, s.trace_id, s.span_id, s.start_time, s.agent_name, s.version, s.service_name,
    {call_samples.CALL_NAME} AS called, span_type IN ('llm', 'embedding') AS is_model, s.error_type, s.error_message,
    s.status_message, s.error_signature,
    called IS NOT NULL AND (s.failed AND s.control IS NULL OR b.span_id IS NOT NULL) AS failed
  FROM _hit h LEFT JOIN outermost o USING (trace_id, span_id)
  JOIN _s s ON s.trace_id = h.trace_id AND s.span_id = coalesce(o.outer_span_id, h.span_id)
  LEFT JOIN failed_results b ON NOT b.told AND b.trace_id = s.trace_id AND b.span_id = s.span_id
"""
_WHERE = """
  SELECT finding, count(*) AS spans, bool_and(failed) AS failed, mode(called ORDER BY called) AS called,
    count(DISTINCT called) AS names, any_value(is_model) AS is_model,
    mode(agent_name ORDER BY agent_name) AS agent, mode(version ORDER BY version) AS version,
    mode(service_name ORDER BY service_name) AS service,
    list({'type': error_type, 'said': coalesce(error_message, status_message), 'signature': error_signature}) AS errors,
    list(agent_name) AS agents, list(version) AS versions
  FROM _hit_calls GROUP BY finding
"""
_IMPACT = """
  SELECT finding, coalesce(sum(input_tokens), 0)::BIGINT + coalesce(sum(output_tokens), 0)::BIGINT AS tokens,
    sum(cost_usd) AS cost_usd, coalesce(sum(duration_ns), 0) / 1e9 AS seconds,
    count(DISTINCT nullif(user_id, '')) AS users, count(nullif(user_id, '')) AS with_user, count(*) AS traces,
    count(DISTINCT nullif(session_id, '')) AS sessions, epoch_ns(min(start_time)) AS first_ns
  FROM _named JOIN _t USING (trace_id) GROUP BY finding
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `report.model.Finding` has under the same names."""

    calls: Calls | None = None
    place: Place | None = None
    told_otherwise: ToldOtherwise | None = None
    common: list[Common] = field(default_factory=list)
    impact: Impact | None = None
    seen_from: int | None = None


def facts(reader: Reader, findings: Sequence[VerifiedFinding]) -> list[Facts]:
    """Return the facts of each finding. Needs `_named` of `evidence.verify` and the tables of `run_detectors`."""
    execute = reader.connection.execute
    execute("CREATE OR REPLACE TEMP TABLE _hit (finding INTEGER, trace_id VARCHAR, span_id VARCHAR)")
    execute("CREATE OR REPLACE TEMP TABLE _named (finding INTEGER, trace_id VARCHAR)")
    for number, item in enumerate(findings):
        shown = [(one.trace_id, one.symptom_span_id or one.origin_span_id) for one in item.occurrences]
        columns = [list(column) for column in zip(*shown, strict=True)]
        execute("INSERT INTO _hit SELECT ?::INTEGER, unnest(?::VARCHAR[]), unnest(?::VARCHAR[])", [number, *columns])
    execute("INSERT INTO _named SELECT DISTINCT finding, trace_id FROM _hit")
    execute(_HITS)
    where = {row["finding"]: row for row in reader.query(_WHERE)}
    impact = {row["finding"]: row for row in reader.query(_IMPACT)}
    sizes, versions = _sizes(reader), _versions(reader)
    all_calls = {number: calls for number, row in where.items() if (calls := _calls(row, sizes))}
    first = sorted(all_calls)[:MAX_COMPARED]
    call_samples.prepare(reader, {number: where[number]["called"] for number in first})
    found = []
    for number, item in enumerate(findings):
        calls, taken = all_calls.get(number), impact.get(number)
        found.append(
            Facts(
                calls=calls,
                place=_place(where.get(number), calls, versions),
                told_otherwise=_told(reader, item, calls, findings),
                common=call_samples.shared(reader, number, calls) if calls and number in first else [],
                impact=_impact(taken) if taken else None,
                seen_from=taken["first_ns"] if taken else None,
            )
        )
    return found


def _sizes(reader: Reader) -> dict[str, int]:
    """Count the calls of each name that a finding is about."""
    rows = reader.query(
        f"SELECT {call_samples.CALL_NAME} AS called, count(*) AS n FROM _s ANTI JOIN _inner USING (trace_id, span_id) "
        "WHERE called IN (SELECT called FROM _hit_calls) GROUP BY ALL"
    )
    return {row["called"]: row["n"] for row in rows}


def _calls(row: dict[str, Any], sizes: dict[str, int]) -> Calls | None:
    """Count failed calls, where a finding is about failed calls of one name and nothing else."""
    if not row or not row["failed"] or row["names"] != 1:
        return None
    return Calls(
        name=one_line(row["called"], VALUE_CHARACTERS),
        kind="model" if row["is_model"] else "tool",
        affected=row["spans"],
        of=max(row["spans"], sizes.get(row["called"], 0)),
        error=_error(row["errors"]),
    )


def _error(errors: Sequence[dict[str, str | None]]) -> str:
    """Say what nearly all errors say: an HTTP status, the message without its numbers, or the type."""

    def shared(values: Sequence[str]) -> str:
        best = max(sorted(set(values)), key=values.count, default="")
        return best if best and values.count(best) >= MOST * len(errors) else ""

    texts = ["\n".join(filter(None, (one["type"], one["said"]))) for one in errors]
    status = shared([match[1] or match[2] for text in texts if (match := HTTP_STATUS.search(text))])
    status = status or shared([kind for one in errors if re.fullmatch(r"[45]\d\d", kind := one["type"] or "")])
    if status:
        return f"HTTP {status}"
    kind = shared([one["type"] or "" for one in errors])
    for text in (shared([one["said"] or "" for one in errors]), shared([one["signature"] or "" for one in errors])):
        said = one_line(re.sub(r"<\w+>", "…", text)).removeprefix(f"{kind}: ")
        if 0 < len(said) <= NAME_CHARACTERS:
            return said
    return one_line(kind.rsplit(".", 1)[-1], NAME_CHARACTERS)


def _versions(reader: Reader) -> dict[str, dict[str, int]]:
    """Count the traces of each version of each service that a finding is about."""
    found: dict[str, dict[str, int]] = {}
    for row in reader.query(
        "SELECT service_name AS service, version, count(DISTINCT trace_id) AS n FROM _s "
        "WHERE version <> '' AND service_name IN (SELECT service_name FROM _hit_calls) GROUP BY ALL"
    ):
        found.setdefault(row["service"], {})[row["version"]] = row["n"]
    return found


def _place(row: dict[str, Any] | None, calls: Calls | None, versions: dict[str, dict[str, int]]) -> Place | None:
    if row is None:
        return None
    agent, version = (
        value if (value := row[name]) and row[f"{name}s"].count(value) >= NEARLY_ALL * row["spans"] else None
        for name in ("agent", "version")
    )
    tool = calls.name if calls and calls.kind == "tool" else None
    if not (agent or version or tool):
        return None
    elsewhere = sum(traces for other, traces in versions.get(row["service"], {}).items() if other != version)
    hits = sum(other != version for other in row["versions"])
    return Place(
        tool=tool,
        agent=one_line(agent, VALUE_CHARACTERS) if agent else None,
        version=one_line(version, VALUE_CHARACTERS) if version else None,
        only_version=bool(version)
        and elsewhere >= common_traits.MIN_OTHERS
        and hits <= common_traits.AT_MOST * elsewhere,
    )


def _told(
    reader: Reader, item: VerifiedFinding, calls: Calls | None, findings: Sequence[VerifiedFinding]
) -> ToldOtherwise | None:
    """Count the affected traces whose answer claims what the failed tool does, and their users where all are known."""
    if calls is None or calls.kind != "tool":
        return None
    able = reader.query(
        "SELECT claim FROM (SELECT unnest($1::VARCHAR[]) AS claim, unnest($2::VARCHAR[]) AS tool) "
        "WHERE regexp_matches($3, '(?i)' || tool)",
        [[one.name for one in claims.known()], [one.tool for one in claims.known()], calls.name],
    )
    actions = {row["claim"] for row in able}
    claimed = {
        one.trace_id
        for other in findings
        if other.draft.detector_name == CLAIM and other.draft.key in actions
        for one in other.occurrences
    }
    traces = sorted(claimed & {one.trace_id for one in item.occurrences})
    if not traces:
        return None
    users = reader.query(
        "SELECT count(DISTINCT nullif(user_id, '')) AS users, count(nullif(user_id, '')) AS known FROM _t "
        "WHERE list_contains($1, trace_id)",
        [traces],
    )[0]
    return ToldOtherwise(users=users["users"] if users["known"] == len(traces) else None, traces=len(traces))


def _impact(row: dict[str, Any]) -> Impact:
    return Impact(
        tokens=row["tokens"],
        cost_usd=row["cost_usd"],
        seconds=round(row["seconds"], 3),
        users=row["users"] if row["with_user"] == row["traces"] else None,
        sessions=row["sessions"] or None,
    )
