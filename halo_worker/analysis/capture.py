"""What the captured spans hold, per service and convention, and so which detectors can see and which cannot.

Facts are shares of the spans that could carry them. Below `MISSING` a fact is not captured, below `PARTIAL` it is in
part. What to set is told per convention, in the words of its own documentation and source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from halo_receiver.store.reader import Reader
from halo_worker.display import named
from halo_worker.report import formats
from halo_worker.report.model import Coverage, DetectorOff

MISSING, PARTIAL = 0.02, 0.5
MIN_SPANS = 3  # spans that could carry a fact, below which its absence says nothing
MAX_SERVICES = 50
MAX_NAMED = 3  # services named in one line

_CONTENT = (
    "empty_answer", "refusal", "leaked_secret", "leaked_prompt", "stopped_at_limit", "repeated_answer", "promise_not_kept",
    "malformed_json", "claimed_action", "unfounded_after_empty_retrieval", "planned_tool_unused", "plan_abandoned",
    "answer_from_memory", "unusual_tool",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fact:
    """Something spans may carry: on which spans, how it is recognised in `_s`, and what cannot be told without it."""

    name: str
    on: str  # llm, tool, agent or trace
    sql: str
    cannot: str
    detectors: tuple[str, ...]


FACTS = (
    Fact("message content", "llm", "has_output", "empty, refused, leaking, claimed and unfounded answers", _CONTENT),
    Fact("tool definitions", "llm", "len(tools_offered) > 0", "invented tools and arguments that violate their schema", ("invented_tool", "wrong_arguments")),
    Fact("finish reasons", "llm", "finish_reason IS NOT NULL", "truncated and filtered output", ("truncated_output", "parse_failure_after_truncation", "content_filter")),
    Fact("token counts", "llm", "input_tokens IS NOT NULL", "full contexts, and outliers of tokens and cost", ("token_outlier", "token_shift", "cost_outlier", "context_pressure")),
    Fact("model names", "llm", "model IS NOT NULL", "costs, context windows and differences between models", ("cost_outlier", "context_pressure")),
    Fact("tool calls of models", "calling", "calls > 0", "calls without a result, and which model call is to blame", ("call_without_result", "ends_without_answer", "invented_tool", "wrong_arguments")),
    Fact("tool spans", "calls", "tools > 0", "swallowed errors, repeated calls and double side effects", ("swallowed_error", "repeated_side_effect", "call_without_result", "ends_without_answer", "result_without_call")),
    Fact("tool arguments", "tool", "length(arguments) > 0", "repeated calls, placeholders and double side effects", ("repeated_call", "placeholder_argument", "repeated_side_effect")),
    Fact("tool results", "tool", "output_length > 0", "errors inside results, and unfounded answers", ("swallowed_error", "unfounded_after_empty_retrieval")),
    Fact("agent names", "llm", "agent_name IS NOT NULL OR agents > 0", "which agent fails, and hand-offs back and forth", ("handoff_ping_pong",)),
    Fact("root spans", "trace", "rooted", "whether runs end, and how", ("unfinished_run", "ends_without_answer")),
)  # fmt: skip

_SPAN_ONLY = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY"
# By convention: what to set for content, arguments, results and definitions. "" stands for every other fact.
HOW: dict[str, dict[str, str]] = {
    "otel_genai": {"content": _SPAN_ONLY},
    "otel_genai_legacy": {"content": "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true, and export logs too: this version writes messages there"},
    "mcp": {"content": "an instrumentation that records arguments and results (OpenLLMetry's or Logfire's of MCP, or the agent framework's own tool spans): MCP's SDK and FastMCP leave them out"},
    "openinference": {"content": "no OPENINFERENCE_HIDE_INPUTS, OPENINFERENCE_HIDE_OUTPUTS, OPENINFERENCE_HIDE_INPUT_MESSAGES or OPENINFERENCE_HIDE_OUTPUT_MESSAGES",
                      "tool definitions": "no OPENINFERENCE_HIDE_INPUTS or OPENINFERENCE_HIDE_LLM_TOOLS, and pass tools to the model's API"},
    "openllmetry": {"content": "TRACELOOP_TRACE_CONTENT=true"},
    "openllmetry_legacy": {"content": "TRACELOOP_TRACE_CONTENT=true"},
    "vercel_ai": {"content": "experimental_telemetry: { isEnabled: true, recordInputs: true, recordOutputs: true }",
                  "agent names": "experimental_telemetry: { functionId: 'name-of-the-agent' }"},
    "vercel_ai_7": {"content": "recordInputs and recordOutputs of the telemetry settings to true"},
    "langfuse": {"content": "LANGFUSE_OBSERVE_DECORATOR_IO_CAPTURE_ENABLED=true, and no mask that empties inputs",
                 "tool definitions": "input={'messages': …, 'tools': …} on generations",
                 "finish reasons": "metadata={'finish_reason': …} on generations"},
    "mlflow": {"content": "log_traces to true in autolog()"},
    "logfire": {"content": "no scrubbing of messages; instrument with include_content=True where the integration has it"},
    "pydantic_ai": {"content": "InstrumentationSettings(include_content=True)"},
    "langsmith": {"content": "no LANGSMITH_HIDE_INPUTS or LANGSMITH_HIDE_OUTPUTS"},
    "strands": {"tool definitions": "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental,gen_ai_tool_definitions"},
    "google_adk": {"content": f"OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental with {_SPAN_ONLY}"},
    "claude_code": {"content": "OTEL_LOG_USER_PROMPTS=1 and OTEL_LOG_ASSISTANT_RESPONSES=1, and export logs too",
                    "tool arguments": "OTEL_LOG_TOOL_DETAILS=1", "tool results": "OTEL_LOG_TOOL_CONTENT=1",
                    "tool definitions": "ENABLE_BETA_TRACING_DETAILED=1 with BETA_TRACING_ENDPOINT"},
    "codex": {"content": "log_user_prompt = true under [otel] in its config.toml, and export logs too"},
}  # fmt: skip
_CONTENT_FACTS = ("message content", "tool arguments", "tool results", "tool definitions")
_ANYWHERE = {
    "root spans": "every service on the path to export, and the Collector not to sample by span",
    "tool spans": "an instrumentation of the agent framework beside that of the model's client, or a span of your own around each tool",
}


@dataclass(frozen=True, slots=True)
class Lack:
    """A fact that is missing, or there in part: in words, with what to set."""

    fact: Fact
    share: float
    how: str

    @property
    def says(self) -> str:
        """What is missing and what cannot be told."""
        there = "are" if self.fact.name.endswith("s") else "is"
        what = (
            f"{there} not captured"
            if self.share < MISSING
            else f"{there} captured in {self.share:.0%} of the spans only"
        )
        return f"{self.fact.name} {what}: cannot detect {self.fact.cannot}" + (
            "" if self.share < MISSING else " elsewhere"
        )


@dataclass(slots=True)
class Captured:
    """What one service sends in one convention."""

    service: str
    convention: str | None
    spans: int
    traces: int
    genai: bool
    lacks: list[Lack] = field(default_factory=list)
    has: list[Fact] = field(default_factory=list)  # facts that are captured, at least in part

    @property
    def blind(self) -> set[str]:
        """The detectors that cannot see here."""
        return {name for lack in self.lacks if lack.share < MISSING for name in lack.fact.detectors}

    @property
    def able(self) -> set[str]:
        """The detectors that see here what they need, of those that need something."""
        return {name for fact in self.has for name in fact.detectors} - self.blind


def shown_service(one: Captured) -> str:
    """Write the name of a service."""
    return named(one.service) if one.service else "(unnamed)"


def captured(reader: Reader, spans: str = "_s") -> list[Captured]:
    """Say what each service sends, the largest first; `spans` are rows of `_s`. Needs `overview.prepare`."""
    shares = ", ".join(
        f"avg(coalesce({fact.sql}, false)::INTEGER) FILTER (span_type = '{fact.on}' AND NOT failed) AS f{number}"
        for number, fact in enumerate(FACTS)
        if fact.on in ("llm", "tool")
    )
    rows = reader.query(f"""
        WITH whole AS (
          SELECT trace_id, bool_or(parent_span_id IS NULL) AS rooted, count(*) FILTER (span_type = 'tool') AS tools,
            count(*) FILTER (span_type = 'agent' AND agent_name IS NOT NULL) AS agents FROM {spans} GROUP BY trace_id
        )
        SELECT service_name, convention, count(*) AS spans, count(DISTINCT trace_id) AS traces,
          count(span_type) > 0 AS genai, count(*) FILTER (span_type = 'llm') AS llm,
          count(*) FILTER (span_type = 'tool') AS tool, sum(calls) AS calls,
          count(DISTINCT trace_id) FILTER (rooted) / count(DISTINCT trace_id) AS rooted, max(tools) AS tools, {shares}
        FROM {spans} JOIN whole USING (trace_id) GROUP BY service_name, convention ORDER BY spans DESC LIMIT {MAX_SERVICES}
    """)
    found = []
    for row in rows:
        one = Captured(row["service_name"] or "", row["convention"], row["spans"], row["traces"], bool(row["genai"]))
        for number, fact in enumerate(FACTS):
            share = _share(fact, row, number)
            if not one.genai or share is None:
                continue
            if share < PARTIAL and not _rarely(fact, share):
                one.lacks.append(Lack(fact, share, _how(row["convention"], fact.name)))
            if share >= MISSING:
                one.has.append(fact)
        found.append(one)
    return _by_reference(reader, found)


# OpenTelemetry's completion hook puts messages into object storage and their addresses on the span.
_REFERENCE = "gen_ai.output.messages_ref"


def _by_reference(reader: Reader, found: list[Captured]) -> list[Captured]:
    """Say of services without content that it lies elsewhere, where their spans hold its address."""
    lacking = [one for one in found if any(lack.fact.name == "message content" for lack in one.lacks)]
    if not lacking:
        return found
    rows = reader.query(
        "SELECT DISTINCT service_name, convention FROM spans WHERE span_type IN ('llm', 'agent') "
        f"AND json_exists(attributes, '$.\"{_REFERENCE}\"') LIMIT {MAX_SERVICES}"
    )
    elsewhere = {(row["service_name"] or "", row["convention"]) for row in rows}
    for one in lacking:
        if (one.service, one.convention) in elsewhere:
            one.lacks = [
                replace(
                    lack,
                    how=f"{_SPAN_ONLY}, or no completion hook: its messages are stored elsewhere ({_REFERENCE}), "
                    "halo does not fetch them, and quotes of them cannot be checked",
                )
                if lack.fact.name == "message content"
                else lack
                for lack in one.lacks
            ]
    return found


def _share(fact: Fact, row: dict[str, object], number: int) -> float | None:
    """Return the share of the spans that could carry a fact and do; None where it cannot be asked."""
    counts = {key: int(str(row[key] or 0)) for key in ("llm", "tool", "calls", "tools", "traces")}
    if fact.on == "trace":
        return float(str(row["rooted"])) if counts["traces"] >= MIN_SPANS else None
    if fact.on == "calling":  # tools ran, so models must have asked for them
        return float(counts["calls"] > 0) if counts["tool"] >= MIN_SPANS and counts["llm"] >= MIN_SPANS else None
    if fact.on == "calls":
        return float(counts["tools"] > 0) if counts["calls"] >= MIN_SPANS else None
    if fact.name == "tool definitions" and not counts["tools"] and not counts["calls"]:
        return None  # an agent without tools
    value = row[f"f{number}"]
    return float(str(value)) if value is not None and counts[fact.on] >= MIN_SPANS else None


def _rarely(fact: Fact, share: float) -> bool:
    """Say whether a fact may rightly be on some spans only: not every model call is offered tools, or ends well."""
    return fact.name in ("tool definitions", "tool arguments") and share >= MISSING


def _how(convention: str | None, fact: str) -> str:
    known = HOW.get(convention or "", {})
    return known.get(fact) or (known.get("content", "") if fact in _CONTENT_FACTS else "") or _ANYWHERE.get(fact, "")


NO_GENAI = "spans of a GenAI convention"


def off(found: Sequence[Captured]) -> list[DetectorOff]:
    """Return the detectors that can see nowhere in a window, each with the facts that it lacks."""
    if not found:
        return []
    lacking: dict[str, set[str]] = {}
    if not any(one.genai for one in found):
        lacking = {name: {NO_GENAI} for fact in FACTS for name in fact.detectors}
    for one in found:
        for lack in one.lacks:
            if lack.share < MISSING:
                for name in lack.fact.detectors:
                    lacking.setdefault(name, set()).add(lack.fact.name)
    able = set().union(*(one.able for one in found))
    return [DetectorOff(name=name, lacks=sorted(lacks)) for name, lacks in sorted(lacking.items()) if name not in able]


def checks(one: Captured, detectors: int) -> str:
    """Say how many of the detectors are on where one service is looked at, and what the others lack."""
    return formats.checks(Coverage(detectors=detectors, detectors_off=off([one])))


def unsupported(found: Sequence[Captured]) -> list[str]:
    """Say what a window's capture does not hold, what so cannot be told, where, and what to set."""
    if found and not any(one.genai for one in found):
        return ["no span follows a GenAI convention: only errors, latency and structure can be judged"]
    where: dict[tuple[str, str], list[str]] = {}
    for one in found:
        for lack in one.lacks:
            says = (
                lack.says
                if lack.share < MISSING
                else f"{lack.fact.name}: captured in part; cannot detect everywhere {lack.fact.cannot}"
            )
            where.setdefault((says, lack.how), []).append(f"{shown_service(one)} ({one.convention})")
    lines = []
    for (says, how), services in where.items():
        named = ", ".join(services[:MAX_NAMED]) + (
            f" and {len(services) - MAX_NAMED} more" if len(services) > MAX_NAMED else ""
        )
        lines.append(f"{named}: {says}" + (f"; set {how}" if how else ""))
    return lines
