"""Runs that came to nothing: that stop in mid-work, hand a failed request to a person, or fail for no known reason.

What ended a run is worked out in `endings`. These run last and leave out what other detectors explain (`_hits`).
"""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit

# Detectors that say how a run ended, or nothing about why it failed.
_SAME_END = ("unfinished_run", "empty_answer", "ends_without_answer")
_NO_CAUSE = (
    "broken_telemetry", "result_without_call", "latency_outlier", "token_outlier", "cost_outlier", "context_pressure",
)  # fmt: skip
WHO = "coalesce(e.agent_name, e.service_name, s.name)"


# What kind of failure the user was told of, by the class of the error. A failing check is often what was asked for: it
# counts where the root calls the run failed.
_TOLD_OF = {
    "not_found": "Resource Not Found", "timeout": "Timeout Issues", "authentication": "Authentication Errors",
    "service": "Service Errors", "rate_limit": "Rate Limiting", "format": "Formatting Errors", "other": "Unhandled Error",
}  # fmt: skip
_OFTEN_RIGHT = ("format", "other")


def _told(error_class: str, category: str) -> Unit:
    """Return the detector of runs whose user is told of a failure instead of being served, by one class of errors."""
    # Who says what was not found, or asks back, has answered.
    counts = "u.root_failed" if error_class in _OFTEN_RIGHT else "u.root_failed OR NOT u.why"
    return Unit(
        name=f"told_{error_class}",
        category=category,
        definition=f"A call fails by an error of class '{error_class}', no work succeeds after it, and the run ends with an answer that says neither what was missing nor asks for it",
        source="run outcomes by structure: told but not served",
        limits="what other detectors explain is theirs; an answer that tells why, or asks back, counts under the outcomes alone, unless the root calls the run failed",
        sql=f"""
          SELECT '{error_class}' AS key, u.work AS subject, trace_id, span_id, NULL AS origin_span_id, 'name' AS field, s.name AS quote
          FROM (FROM _unserved WHERE class = '{error_class}') u JOIN (SELECT trace_id, span_id, name FROM _s) s USING (trace_id, span_id)
          WHERE ({counts}) AND trace_id NOT IN (SELECT trace_id FROM _hits WHERE detector NOT IN ({_named(_NO_CAUSE)}))
        """,
        title="{subject} fails, and the request is told but not served",
        description="{subject} fails and is not done in another way; the run ends with an answer, but not with what was asked for.",
        fix="Look at what is asked for in these runs: validate arguments before the call, return what does exist, and let the answer say what failed and what the user can do.",
        validation="The share of runs that are told but not served should fall.",
        confidence=0.7,
        severity="low",
        speaks=("output_text", "error_message"),
    )


def _named(detectors: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in detectors)


UNITS = (
    Unit(
        name="ended_in_mid_work",
        category="Task Orchestration",
        definition="The last act of a run is a call of a tool, its result, a hand-off or an empty turn: nobody answers after it",
        source="run outcomes by structure; TRAIL, Task Orchestration (arXiv 2505.08638)",
        limits="runs with an agent, or with several calls; a tool that runs end in as a rule (final_answer, or 90 % of its runs) ends them; not where the session goes on in another trace",
        sql=f"""
          SELECT {WHO} || '|' || e.last_act AS key, {WHO} AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM _ended o JOIN _endings e USING (trace_id) JOIN _s s ON s.trace_id = e.trace_id AND s.span_id = e.span_id
          JOIN _t t ON t.trace_id = e.trace_id
          WHERE o.outcome = 'ended in mid-work' AND o.basis = 'structure' AND t.status_code IS DISTINCT FROM 'ERROR'
            AND e.trace_id NOT IN (SELECT trace_id FROM _hits WHERE detector IN ({_named(_SAME_END)}))
        """,
        title="Runs of {subject} end in mid-work, without an answer",
        description="The last thing that happens in these runs is {key}: work was under way, and nobody answered the request.",
        fix="Look at what stops these runs: a limit of turns or time, a crash, a client that stops reading. Let the loop end only after a turn that answers, and record a limit as an error.",
        validation="The last act of every run should be an answer.",
        confidence=0.8,
        severity="medium",
        speaks=("output_text", "input_text"),
    ),
    Unit(
        name="limit_reached",
        category="Task Orchestration",
        definition="A run ends because a limit of turns, time, tokens or context is reached: its last words say so, or the last turn is cut at the output limit",
        source="run outcomes by structure; frameworks' notices of limits",
        limits="notices in place of an answer are short; what other detectors name is theirs",
        sql=f"""
          SELECT {WHO} || '|limit' AS key, {WHO} AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM _ended o JOIN _endings e USING (trace_id) JOIN _s s ON s.trace_id = e.trace_id AND s.span_id = e.span_id
          WHERE o.outcome = 'limit reached' AND o.basis = 'structure' AND e.trace_id NOT IN (SELECT trace_id FROM _hits WHERE detector NOT IN ({_named(_NO_CAUSE)}))
        """,
        title="Runs of {subject} end at a limit",
        description="These runs stop because a limit is reached, not because the request is answered.",
        fix="Look at what fills the limit: repeated work, long results, a task too large for one run. Give the agent a stopping rule, and let it answer with what it has before the limit.",
        validation="Runs should end in an answer before any limit.",
        confidence=0.8,
        severity="medium",
        speaks=("output_text",),
    ),
    Unit(
        name="handed_to_a_person",
        category="Task Orchestration",
        definition="A run hands its request to a person after a call whose work failed and did not succeed later",
        source="escalation after a failed action (tau-bench, arXiv 2406.12045)",
        limits="hand-overs are told by the tool's name; a hand-over without a failed call before it is a way of working, and is counted under outcomes alone",
        sql="""
          SELECT coalesce(u.work, '') || '|person' AS key, u.work AS subject, e.trace_id, arg_max(u.span_id, u.start_time) AS span_id,
            arg_max(u.span_id, u.start_time) AS origin_span_id, 'name' AS field, arg_max(s.name, u.start_time) AS quote
          FROM _ended o JOIN _endings e USING (trace_id) JOIN _failed_work u USING (trace_id)
          JOIN _s s ON s.trace_id = u.trace_id AND s.span_id = u.span_id
          WHERE o.outcome = 'gave up' AND e.tool IS NOT NULL GROUP BY u.work, e.trace_id
        """,
        title="Requests go to a person after {subject} fails",
        description="{subject} fails and is not done in another way; the agent hands the request to a person instead of serving it.",
        fix="Check before the call whether it can work in this state, tell the model which action applies then, and let the tool say what is allowed.",
        validation="Hand-overs that follow a failed call should become rare.",
        confidence=0.7,
        severity="medium",
        speaks=("output_text",),
    ),
    *(_told(error_class, category) for error_class, category in _TOLD_OF.items()),
    Unit(
        name="cause_not_known",
        category="Unhandled Error",
        definition="The root of a run ends in ERROR, and no other detector says why",
        source="every run that its root calls failed is in a finding",
        limits="control flow and aborts are no failures; what only says that a run is slow, expensive or badly recorded explains nothing",
        sql=f"""
          SELECT 'failed, cause not known' AS key, coalesce(s.agent_name, s.service_name, s.name) AS subject, s.trace_id, s.span_id, s.span_id AS origin_span_id,
            CASE WHEN trim(coalesce(s.error_message, '')) <> '' THEN 'error_message' WHEN trim(coalesce(s.status_message, '')) <> '' THEN 'status_message' ELSE 'name' END AS field,
            left(coalesce(nullif(trim(s.error_message), ''), nullif(trim(s.status_message), ''), s.name), 300) AS quote
          FROM (
            SELECT trace_id, arg_min(span_id, start_time) AS span_id FROM _s
            WHERE parent_span_id IS NULL AND status_code = 'ERROR' AND control IS NULL GROUP BY trace_id
          ) r JOIN _s s USING (trace_id, span_id)
          WHERE s.trace_id NOT IN (SELECT trace_id FROM _hits WHERE detector NOT IN ({_named(_NO_CAUSE)}))
        """,
        title="Runs of {subject} fail, cause not known",
        description="The root span ends in ERROR and nothing in the run that a check can see explains it.",
        fix="Record the exception on the span that raises it, and capture the arguments and results of the calls before it.",
        validation="Every failed run should name its cause.",
        confidence=0.9,
    ),
)  # fmt: skip
