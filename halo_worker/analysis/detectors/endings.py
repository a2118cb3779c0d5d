"""How runs ended, read from their structure: what the last act was, and whether an answer came after it.

Acts are calls of models and tools, and the turns of agents that show no more of themselves; each once, without what
ran beside or after the run (`_asides`, evaluators). A single model call, and one step of a client that runs its tools
elsewhere, say nothing of their request.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader

ENDS = 0.9  # share of the runs with a tool whose last act it is, from which calling it ends a run
MIN_RUNS = 3  # with that tool
LEADS = 0.9  # share of the other agents' turns after which one agent takes the next, from which it leads the run
MIN_TURNS = 5  # of other agents in a service, below which nobody is said to lead
MIN_LED = 2  # other agents: of two that take turns, neither leads
SHORT = 400  # characters of an answer that may be nothing but the notice of a limit

# Tools that hand a request to a person.
TO_A_PERSON = (
    r"(?i)(transfer|escalat|hand_?(off|over)|forward|connect)\w*"
    r"[_-](human|person|operator|support|staff|representative)"
    r"|(human|person|operator)\w*(hand_?off|transfer|escalation)"
)
HANDS_OVER = r"(?i)^(transfer|hand_?off|hand_?over|delegate)"  # to another agent, which has to go on

# Spans that are no acts, though their type may be one: what ran beside the run, and agents that show their steps.
_NO_ACTS = """
  FROM judging UNION FROM (SELECT trace_id, span_id FROM asides) UNION FROM (SELECT trace_id, span_id FROM _inner)
  UNION SELECT a.trace_id, a.span_id FROM _s a
  JOIN _s c ON c.trace_id = a.trace_id AND c.parent_span_id = a.span_id AND c.span_type IS NOT NULL
  WHERE a.span_type IN ('agent', 'workflow') AND a.output_length > 0 AND a.parent_span_id IS NOT NULL
"""


def _acts(spans: str) -> str:
    """Return the SELECT of the acts among `spans` (of `_s`).

    `asks`: a model's turn that wants a tool. `says`: a turn with words or media. `worked`: a tool that gave a result.
    `limit_told`: with nothing but the notice of a limit.
    """
    return f"""
    SELECT *, NOT does AND NOT asks AND said_length > 0 AS says,
      does AND NOT failed AND (said_length > 0 OR status_code = 'OK') AS worked
    FROM (
      SELECT trace_id, span_id, parent_span_id, service_name, agent_name, span_type, status_code, failed, finish_reason,
        start_time, coalesce(end_time, start_time) AS end_time, input_hash,
        span_type IN ('tool', 'retriever') AS does,
        NOT does AND (coalesce(calls, 0) > 0 OR coalesce(finish_reason = 'tool_calls', false)) AS asks,
        CASE WHEN media THEN 1 ELSE coalesce(output_length, 0) END AS said_length, hash(output_head) AS said,
        NOT does AND output_length <= {SHORT} AND stopped_by_limit(output_head) AS limit_told,
        CASE WHEN does THEN coalesce(tool_name, name) WHEN calls > 0 THEN tool_calls[-1]->>'name' END AS tool
      FROM {spans} ANTI JOIN _no_acts USING (trace_id, span_id)
      WHERE start_time IS NOT NULL AND control IS NULL AND (span_type IN ('llm', 'tool', 'retriever')
        OR span_type IN ('agent', 'workflow') AND output_length > 0 AND parent_span_id IS NOT NULL)
    )
    """


# The last act of each run. Where models' wishes are captured, a tool after the answer is the program's own.
_LAST = f"""
  WITH runs AS (
    SELECT trace_id, count(*) FILTER (span_type = 'llm') AS models, count(*) FILTER (does) AS tools, count(*) AS acts,
      max(end_time) AS last_end, max(end_time) FILTER (NOT does) AS turn_end, bool_or(asks) AS asked
    FROM _acts GROUP BY trace_id
  ),
  ends AS (
    SELECT trace_id, max({{'start': start_time, 'id': span_id}}) FILTER (end_time = last_end).id AS last_id,
      max({{'start': start_time, 'id': span_id, 'says': says}}) FILTER (NOT does AND end_time = turn_end) AS turn
    FROM _acts JOIN runs USING (trace_id) WHERE end_time IN (last_end, turn_end) GROUP BY trace_id
  ),
  chosen AS (
    SELECT r.trace_id, CASE WHEN asked AND turn.says THEN turn.id ELSE last_id END AS span_id, models, tools, acts,
      turn.id AS turn_id
    FROM runs r JOIN ends USING (trace_id)
  )
  SELECT * EXCLUDE (span_type, input_hash, parent_span_id)
  FROM ({_acts("_s SEMI JOIN chosen USING (trace_id, span_id)")}) JOIN chosen USING (trace_id, span_id)
"""
# Tools by which runs end: by their name, or because they stand there, with a result, in nearly all runs.
_ENDING = f"""
  SELECT u.service_name, u.tool FROM (
    SELECT service_name, trace_id, tool, bool_and(worked OR asks) AS fine FROM _acts
    WHERE tool IS NOT NULL GROUP BY ALL
  ) u LEFT JOIN _last l ON l.trace_id = u.trace_id AND l.tool = u.tool
  GROUP BY u.service_name, u.tool
  HAVING ends_run(u.tool) AND NOT regexp_matches(u.tool, '{HANDS_OVER}')
    OR bool_and(u.fine) AND count(*) >= {MIN_RUNS} AND count(l.trace_id) >= {ENDS} * count(*)
"""
# Who takes the turn after each of the others': that agent hands work out, and has to come back with the answer.
_LEADERS = f"""
  WITH many AS (
    SELECT service_name FROM _acts WHERE NOT does GROUP BY ALL HAVING count(DISTINCT agent_name) > {MIN_LED}
  ),
  turns AS (
    SELECT service_name, agent_name,
      lead(agent_name) OVER (PARTITION BY trace_id ORDER BY end_time, start_time, span_id) AS following
    FROM _acts SEMI JOIN many USING (service_name) WHERE NOT does AND agent_name IS NOT NULL
  ),
  handed AS (
    SELECT service_name, following AS agent_name, count(*) AS n FROM turns WHERE following <> agent_name GROUP BY ALL
  )
  SELECT h.service_name, h.agent_name FROM handed h
  JOIN turns o ON o.service_name = h.service_name AND o.agent_name <> h.agent_name AND o.following IS NOT NULL
  GROUP BY h.service_name, h.agent_name, h.n
  HAVING h.n >= {MIN_TURNS} AND h.n >= {LEADS} * count(*) AND count(DISTINCT o.agent_name) >= {MIN_LED}
"""
# Runs of which an outer span returns words of its own after the last act: not what the last turn said, nor a state. A
# short text with which a turn asks for a tool is an announcement, whoever returns it. A stack trace is nobody's words.
_OUTER_WORDS = rf"""
  SELECT DISTINCT l.trace_id FROM _last l JOIN _s s USING (trace_id)
  LEFT JOIN _acts t ON t.trace_id = l.trace_id AND t.span_id = l.turn_id AND t.asks AND t.said_length <= {SHORT}
  ANTI JOIN (FROM _acts WHERE span_type IN ('agent', 'workflow')) a ON a.trace_id = s.trace_id AND a.span_id = s.span_id
  WHERE NOT l.says AND s.output_length > 0 AND (s.end_time IS NULL OR s.end_time >= l.end_time)
    AND (s.span_type IN ('agent', 'workflow')
      OR s.parent_span_id IS NULL AND coalesce(s.span_type, '') NOT IN ('llm', 'tool', 'retriever'))
    AND (l.does OR hash(s.output_head) <> l.said) AND hash(s.output_head) IS DISTINCT FROM t.said
    AND NOT (l.does AND hash(s.output_head) = l.said AND holds_stack_trace(s.output_head))
    AND NOT regexp_matches(s.output_head, '^\s*[{{\[](?s:.)*"(messages|tool_calls)"')
"""
# Work whose last attempt failed, in calls of tools or in what models were told; what works in another part of the run
# mends it only with the same arguments. `last`: no work succeeded after it.
_FAILED_WORK = """
  WITH tries AS (
    SELECT a.trace_id, a.span_id, a.start_time, a.tool AS work, a.input_hash, a.failed OR b.span_id IS NOT NULL AS bad,
      u.span_id AS sub_run
    FROM _acts a LEFT JOIN failed_steps b USING (trace_id, span_id)
    LEFT JOIN sub_runs u ON u.trace_id = a.trace_id AND u.span_id = a.parent_span_id WHERE a.does
    UNION ALL
    SELECT t.trace_id, t.span_id, t.start_time, t.tool, NULL, b.span_id IS NOT NULL, NULL
    FROM told_results t LEFT JOIN (FROM failed_results WHERE told) b USING (trace_id, span_id)
  ),
  some_ AS (FROM tries SEMI JOIN (SELECT DISTINCT trace_id FROM tries WHERE bad) USING (trace_id)),
  good AS (SELECT trace_id, max(start_time) AS at_ FROM some_ WHERE NOT bad GROUP BY ALL),
  same AS (
    SELECT trace_id, input_hash, max(start_time) AS at_ FROM some_
    WHERE NOT bad AND input_hash IS NOT NULL GROUP BY ALL
  ),
  latest AS (
    SELECT trace_id, sub_run, work, max(start_time) AS start_time, arg_max(span_id, start_time) AS span_id,
      arg_max(input_hash, start_time) AS input_hash
    FROM some_ GROUP BY ALL HAVING arg_max(bad, start_time)
  )
  SELECT l.trace_id, l.span_id, l.work, l.start_time, coalesce(g.at_ < l.start_time, true) AS last
  FROM latest l LEFT JOIN good g USING (trace_id) LEFT JOIN same s USING (trace_id, input_hash)
  WHERE coalesce(s.at_ < l.start_time, true)
"""
_ADMITTING = "SELECT trace_id, span_id FROM replies SEMI JOIN _failed_work USING (trace_id) WHERE admits"
_CLASSES = f"""
  WITH unserved AS (SELECT trace_id, bool_or(last) AS last, max(start_time) AS at_ FROM _failed_work GROUP BY ALL),
  limited AS (SELECT DISTINCT trace_id FROM errors WHERE class IN ('turn_limit', 'context_length') AND NOT passed),
  agents AS (SELECT DISTINCT trace_id FROM _s WHERE span_type IN ('agent', 'workflow')),
  later AS (
    SELECT a.trace_id FROM _t a
    JOIN (SELECT session_id, max(start_time) AS at_ FROM _t WHERE session_id <> '' GROUP BY ALL) b
      ON b.session_id = a.session_id WHERE b.at_ > a.start_time
  ),
  spoken AS (SELECT service_name FROM _acts WHERE says GROUP BY ALL),
  facts AS (
    SELECT l.*, o.trace_id IS NOT NULL AS outer_words,
      e.tool IS NOT NULL AS ends, p.service_name IS NOT NULL AS speaks, lim.trace_id IS NOT NULL AS limited,
      later.trace_id IS NOT NULL AS goes_on, coalesce(u.last, false) AS failed_last, u.at_ AS failed_at,
      led.trace_id IS NOT NULL AS led, x.agent_name IS NOT NULL AS leads, r.span_id IS NOT NULL AS admits,
      ag.trace_id IS NOT NULL OR l.tools > 0 OR l.models > 1 AS whole,
      l.trace_id IN (FROM _stopped) AS stopped
    FROM _last l LEFT JOIN _outer_words o USING (trace_id)
    LEFT JOIN _ending_tools e ON e.service_name IS NOT DISTINCT FROM l.service_name AND e.tool = l.tool
    LEFT JOIN spoken p ON p.service_name IS NOT DISTINCT FROM l.service_name
    LEFT JOIN limited lim USING (trace_id) LEFT JOIN later USING (trace_id) LEFT JOIN unserved u USING (trace_id)
    LEFT JOIN agents ag USING (trace_id)
    LEFT JOIN (SELECT DISTINCT a.trace_id FROM _acts a SEMI JOIN _leaders USING (service_name, agent_name)) led
      USING (trace_id)
    LEFT JOIN _leaders x ON x.service_name = l.service_name AND x.agent_name = l.agent_name
    LEFT JOIN _admitting r ON r.trace_id = l.trace_id AND r.span_id = l.span_id
  )
  SELECT trace_id, span_id, service_name, agent_name, tool, acts, finish_reason,
    CASE WHEN asks THEN 'a call of a tool' WHEN does THEN 'the result of a tool'
      WHEN led AND NOT leads THEN 'a hand-off'
      WHEN NOT says THEN 'an empty turn' END AS last_act,
    CASE
    WHEN stopped THEN 'unknown'
    WHEN limited OR says AND limit_told
      OR finish_reason = 'length' AND NOT outer_words THEN 'limit reached'
    WHEN finish_reason = 'content_filter' THEN 'gave up'
    WHEN NOT whole THEN CASE WHEN says THEN 'served' ELSE 'unknown' END
    WHEN failed AND NOT outer_words AND NOT does THEN 'error'
    WHEN (asks OR does) AND regexp_matches(coalesce(tool, ''), '{TO_A_PERSON}') THEN 'gave up'
    WHEN says AND led AND NOT leads THEN 'ended in mid-work'
    WHEN says OR outer_words THEN CASE
      WHEN failed_last OR failed_at IS NOT NULL AND admits THEN 'told but not served' ELSE 'served' END
    WHEN ends AND NOT failed THEN 'served'
    WHEN asks AND goes_on OR NOT speaks AND NOT asks AND NOT does THEN 'unknown'
    WHEN does AND acts = tools THEN 'unknown'
    ELSE 'ended in mid-work' END AS outcome
  FROM facts
"""

# The work for which a run was told but not served, the last of it where nothing worked after it; `why`: the answer says
# what is missing, or asks for it. In steps: each then reads the texts of few runs.
_LAST_WORK = """
  SELECT u.trace_id, u.span_id, u.work FROM _failed_work u JOIN _endings o USING (trace_id)
  WHERE o.outcome = 'told but not served' QUALIFY u.last OR NOT bool_or(u.last) OVER (PARTITION BY u.trace_id)
"""
_WORK_CLASSES = """
  SELECT trace_id, span_id, class FROM errors SEMI JOIN _last_work USING (trace_id, span_id)
  UNION ALL
  SELECT trace_id, span_id, error_class(text) FROM (
    SELECT trace_id, span_id, text FROM failed_results SEMI JOIN _last_work USING (trace_id, span_id) WHERE NOT told)
"""
_EXPLAINED = """
  SELECT DISTINCT trace_id
  FROM (SELECT trace_id, answer FROM answers WHERE trace_id IN (SELECT trace_id FROM _last_work))
  WHERE tells_why(answer)
"""
_UNSERVED = """
  SELECT l.trace_id, l.span_id, l.work, coalesce(min(c.class), 'other') AS class,
    bool_or(e.trace_id IS NOT NULL) AS why, bool_or(t.trace_id IS NOT NULL) AS root_failed
  FROM _last_work l LEFT JOIN _work_classes c USING (trace_id, span_id) LEFT JOIN _explained e USING (trace_id)
  LEFT JOIN (SELECT trace_id FROM _t WHERE status_code = 'ERROR') t USING (trace_id)
  GROUP BY l.trace_id, l.span_id, l.work
"""
_NONE_UNSERVED = """
  SELECT trace_id, span_id, work, '' AS class, false AS why, false AS root_failed FROM _last_work WHERE false
"""


def acts(reader: Reader) -> None:
    """Make what tells of each run by itself: `_acts`, `_last`, `_outer_words`, `_failed_work` and `_admitting`.

    Needs the tables of `tables`, `final_answer` and `same_call`.
    """
    reader.scratch.table("_no_acts", _NO_ACTS)
    _show_acts(reader)
    for name, sql in (
        ("_last", _LAST), ("_outer_words", _OUTER_WORDS), ("_failed_work", _FAILED_WORK), ("_admitting", _ADMITTING),
    ):  # fmt: skip
        reader.scratch.table(name, sql)


def _show_acts(reader: Reader) -> None:
    """Make the view `_acts`: what it reads of `_s` costs less than to write it again of nearly every span."""
    reader.connection.execute(f"CREATE OR REPLACE TEMP VIEW _acts AS {_acts('_s')}")


def prepare(reader: Reader) -> None:
    """Make `_endings` (trace_id, span_id of the last act, last_act, outcome …) and `_unserved`. Needs `acts`."""
    _show_acts(reader)
    for name, sql in (
        ("_ending_tools", _ENDING), ("_leaders", _LEADERS), ("_endings", _CLASSES), ("_last_work", _LAST_WORK),
    ):  # fmt: skip
        reader.scratch.table(name, sql)
    if not reader.query("SELECT 1 FROM _last_work LIMIT 1"):
        reader.scratch.table("_unserved", _NONE_UNSERVED)
        return
    for name, sql in (("_work_classes", _WORK_CLASSES), ("_explained", _EXPLAINED), ("_unserved", _UNSERVED)):
        reader.scratch.table(name, sql)
