"""What an answer says that the run does not bear out: actions claimed and not done, facts after an empty retrieval."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit, escaped
from halo_worker.analysis.detectors.tables import ADMITS, NEGATES, READING

_ADMITS = escaped(ADMITS)
_NEGATES = escaped(NEGATES)

# Actions an agent says it has done, and words that the name of a tool which does them would hold.
CLAIMS = (
    ("refund", r"(refunded|(issued|processed|initiated|submitted) (a|the|your|that|this)( \w+){0,2} refund)", "refund|payment|return|credit|revers|money|billing"),
    ("send", r"(sent|emailed|e-mailed|mailed|notified|messaged|texted|forwarded|alerted)", "send|mail|notif|messag|slack|sms|text|contact|alert|post|publish|webhook|communicat|reply|outlook|forward"),
    ("book", r"(booked|reserved|scheduled|rescheduled)", "book|reserv|schedul|calendar|appointment|event|meeting|order"),
    ("cancel", r"(cancell?ed)", "cancel|terminat|stop|delet|remov|refund|update|change"),
    ("create", r"(created|opened|filed|submitted|raised|logged|registered) (a|an|the|your|this|that) (\w+ ){0,2}(ticket|issue|case|complaint|account|order|pull request|request|incident|claim|task|event|booking|dispute)", "create|open|file|submit|ticket|issue|case|account|pull|add|new|register|insert|post|write|save|raise|log|report|jira|incident|complain|order|book"),
    ("update", r"(updated|changed|modified|corrected|adjusted|reset|renewed|upgraded|downgraded) (your|the|that|this|their) (\w+ ){0,2}(address|account|order|subscription|record|profile|plan|password|email|settings?|booking|ticket|phone|status|limit|database|configuration|reservation)", "updat|chang|set|edit|modif|reset|write|save|patch|put|upsert|manage|renew|upgrad|downgrad|adjust|correct"),
    ("delete", r"(deleted|removed|erased|purged) (your|the|that|this|all|their)", "delet|remov|eras|purg|drop|clean|clear|edit|write|updat|cancel|file|trash|patch"),
    ("transfer", r"((transferred|wired|deposited|withdrawn|charged|paid) (the|your|it|that|this|[$€£]?\d[\d.,]*)|(processed|completed|made|submitted|authori[sz]ed) (the|your|a|that) (\w+ )?(payment|transfer|transaction))", "transfer|pay|wire|charg|deposit|withdraw|send|money|billing|purchas"),
    ("purchase", r"(purchased|bought|placed (an|the|your|that) order)", "order|purchas|buy|cart|checkout|place|book"),
    ("operate", r"(deployed|rolled back|reverted|restarted|rebooted|redeployed|scaled (up|down)|(just )?(pushed|merged|committed|released|published) (the|your|a|my|all|these|this))", "deploy|roll|revert|restart|reboot|merg|scal|git|kube|helm|apply|edit|patch|write|push|commit|releas|publish"),
    ("block", r"(blocked|frozen|froze|locked|suspended|disabled|enabled|activated|deactivated|unlocked|unblocked) (your|the|that|this|it|his|her|their)", "block|freez|lock|suspend|disabl|enabl|activat|updat|set|change"),
    ("run", r"(ran|executed|run|re-?ran) (all |the |your |our )*(unit |integration )?(tests?|test suite|benchmarks?)", "test|build|bench|ci"),
    ("escalate", r"(escalated|handed (this|it|you) over|connected you)", "escalat|hand|transfer|assign|human|ticket|queue|notif|send|page"),
)  # fmt: skip
# Tools that can do anything.
_ANYTHING = r"(?i)(bash|shell|exec|command|terminal|python|interpreter|http|request|api|browser|computer|workflow|action|code|sql|invoke|mcp|cli|github|gitlab|jira|stripe|salesforce|hubspot|zendesk|zapier|notion|airtable|crm|erp|twilio|gmail|outlook|google|aws|database|assistant|perform|manage|handle|process)"
_ADVERBS = r"((just|already|now|also|successfully|immediately|gone ahead and|went ahead and) )*"
_I_DID = r"\bI(''ve| have|) " + _ADVERBS
_WAS_DONE = r"\b(has|have) (now |just |already |successfully |also )*been (successfully |now )*"
_IF = r"\b(once|after|when|if|until|before|unless|whether|as soon as) "
_LOOKED = (
    r"\bI(''ve| have|) " + _ADVERBS + r"(searched|checked|queried|looked through|verified|consulted|reviewed) "
    r"((in|with|against|through) )?(the|our|your|their|all) (\w+ )?(database|records|system|web|internet|inventory|calendar|logs|documentation|docs|knowledge base|repository|catalog(ue)?)\b"
)

_CLAIMANT = "coalesce(nullif(f.agent_name, ''), nullif(f.service_name, ''), 'an agent')"
# What is claimed, in the words of a title.
CLAIMED = {
    "refund": "refunds it did not make", "send": "messages it did not send", "book": "bookings it did not make",
    "cancel": "cancellations it did not make", "create": "records it did not create",
    "update": "changes it did not make", "delete": "deletions it did not make",
    "transfer": "payments it did not make", "purchase": "purchases it did not make",
    "operate": "deployments it did not make", "block": "account changes it did not make",
    "run": "test runs it did not make", "escalate": "escalations it did not make", "look up": "lookups it did not make",
}  # fmt: skip


def _claim(name: str, done: str, tool: str) -> str:
    """Find answers that claim an action which no call of the trace could have done.

    Passive claims (`has been cancelled`) also need that no result speaks of it: else the answer reports what was there.
    """
    first, passive = f"{_I_DID}{done}\\b", f"{_WAS_DONE}{done}\\b"
    return f"""
      SELECT '{name}' AS key, {_CLAIMANT} AS subject, trace_id, span_id, span_id AS origin_span_id, 'output_text' AS field, quote
      FROM (
        SELECT f.*, regexp_matches(answer, '(?i){first}') AS by_itself,
          regexp_extract(answer, '(?i)[^.!?\\n]*({first}|{passive})[^.!?\\n]*') AS quote
        FROM _claiming f WHERE regexp_matches(answer, '(?i){first}|{passive}')
      ) f
      WHERE NOT regexp_matches(quote, '(?i){_IF}(I(''ve| have|)|\\w+ \\w+) (\\w+ ){{0,3}}{done}') AND NOT regexp_matches(quote, '{_ADMITS}')
        AND NOT EXISTS (SELECT 1 FROM _done d WHERE d.trace_id = f.trace_id AND regexp_matches(d.work, '(?i){tool}'))
        AND NOT EXISTS (SELECT 1 FROM _done d WHERE d.trace_id = f.trace_id AND d.anything)
        AND (by_itself OR NOT EXISTS (SELECT 1 FROM _s r WHERE r.trace_id = f.trace_id AND r.span_type IN ('tool', 'retriever')
          AND regexp_matches(r.output_head, '(?i){tool}')))
        AND f.service_name IN (SELECT service_name FROM _with_tools)
    """


# That something was looked up, in a trace without one call.
_LOOKUP_CLAIM = f"""
  SELECT 'look up' AS key, {_CLAIMANT} AS subject, trace_id, span_id, span_id AS origin_span_id, 'output_text' AS field,
    regexp_extract(answer, '(?i)[^.!?\\n]*{_LOOKED}[^.!?\\n]*') AS quote
  FROM _final f WHERE regexp_matches(answer, '(?i){_LOOKED}') AND f.service_name IN (SELECT service_name FROM _with_tools)
    AND NOT EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = f.trace_id AND (t.span_type IN ('tool', 'retriever', 'embedding', 'reranker', 'memory')
      OR t.span_type IS NULL AND t.parent_span_id IS NOT NULL))
    AND NOT EXISTS (SELECT 1 FROM _calls c WHERE c.trace_id = f.trace_id)
"""

# What was done in a trace that may have changed something: successful calls of tools that do more than look, and spans
# of other code below the root. Calls of tools without spans of their own count as done.
PREPARE = f"""
CREATE OR REPLACE TEMP TABLE _done AS
SELECT DISTINCT trace_id, work, regexp_matches(work, '{_ANYTHING}') AS anything FROM (
  SELECT s.trace_id, coalesce(tool_name, CASE WHEN span_type = 'agent' THEN agent_name END, name) AS work FROM _s s ANTI JOIN _bad_calls b USING (trace_id, span_id)
  WHERE NOT failed AND parent_span_id IS NOT NULL AND (span_type IN ('tool', 'task', 'chain', 'agent', 'other') OR span_type IS NULL)
  UNION ALL
  SELECT trace_id, call_name FROM _calls WHERE service_name NOT IN (SELECT service_name FROM _s WHERE span_type = 'tool')
) WHERE work IS NOT NULL AND NOT regexp_matches(work, '{READING}');
CREATE OR REPLACE TEMP TABLE _claiming AS SELECT * FROM _final WHERE regexp_matches(answer, '(?i)\\b(i|i''ve|been)\\b');
CREATE OR REPLACE TEMP TABLE _with_tools AS
SELECT DISTINCT service_name FROM _s WHERE span_type = 'tool' OR len(tools_offered) > 0
"""

_EMPTY = (
    r'(?is)^\s*(|\[\s*\]|\{\s*\}|null|none|""|(found )?(no|0|zero) (relevant |matching )?(results?|documents?|matches|hits|entries|records|data|information)( were)?( found)?.{0,60}|nothing found.{0,40}'
    r'|\{(\s*"(query|q|took\w*|elapsed\w*|page|total\w*|count|status|ok|success|max_score|num_results|message|limit|offset|next\w*|has_more)"\s*:\s*("[^"]*"|[\d.]+|true|false|null)\s*,)*'
    r'\s*"(results|documents|docs|matches|hits|items|data|records|rows|passages|chunks|entries|value)"\s*:\s*(\[\s*\]|null)(\s*,\s*"\w+"\s*:\s*("[^"]*"|[\d.]+|true|false|null))*\s*\})\s*$'
)
# Search engines wrap their nothing: an object of empty lists, numbers, and short words around them.
_NOTHING_IN_IT = (
    r"""output_length <= 500 AND json_valid(output_head) AND regexp_matches(output_head, '(?i)"(results|documents|docs|hits|matches|items|ids|records|rows|passages|chunks|entries|nodes|sources|contexts)"\s*:\s*\[[\s\[\]]*\]')"""
    r""" AND regexp_matches(regexp_replace(output_head, '"(query|q|search|input|question)"\s*:\s*"[^"]*"|"\w+"\s*:\s*("[^"\s]{0,40}"|-?[\d.]+|true|false|null)', '', 'g'), '^([\s{}\[\],]|"\w+"\s*:)*$')"""
)
_IS_EMPTY = f"(regexp_matches(coalesce(output_head, ''), '{_EMPTY}') OR coalesce({_NOTHING_IN_IT}, false))"

UNITS = (
    Unit(
        name="claimed_action",
        version=2,
        category="Tool-related",
        definition="The final answer says that something was done, and no call in the trace could have done it",
        source="TRAIL, tool-related hallucination; 'claimed usage' of AWS Strands evaluations",
        limits="English phrases; only where the fleet's tool calls are captured; actions outside the trace are not seen",
        sql=" UNION ALL ".join((*(_claim(*claim) for claim in CLAIMS), _LOOKUP_CLAIM)),
        what=CLAIMED,
        title="{subject} claims {what}",
        description="The final answer tells the user that something was done ({key}), but no successful tool call in the trace could have done it.",
        fix="Let answers report actions from tool results only: require the tool's confirmation id before the turn ends.",
        validation="Every answer that reports an action should have the matching tool span in its trace.",
        confidence=0.75,
        severity="high",
    ),
    Unit(
        name="unfounded_after_empty_retrieval",
        version=2,
        category="Language-only",
        definition="Every retrieval of a trace comes back empty, and the final answer does not say so",
        source="TRAIL, language-only hallucination; grounding checks of retrieval evaluations",
        limits="needs retrieval results; general knowledge may have been enough for the answer",
        sql=f"""
          WITH looked AS (
            SELECT trace_id, span_id, start_time, span_type, output_head IS NOT NULL AS captured, {_IS_EMPTY} AS empty,
              span_type = 'retriever' OR regexp_matches(coalesce(tool_name, name), '(?i)(search|retriev|knowledge|lookup|look_up|vector|rag\\b|wiki|docs?\\b|document|kb\\b|kb_|faq|polic|query_index)') AS retrieves
            FROM _s WHERE NOT failed AND (span_type = 'retriever' OR span_type = 'tool' AND regexp_matches(coalesce(tool_name, name), '{READING}|(?i)(search|retriev|lookup)'))
              AND (output_head IS NOT NULL OR span_type = 'retriever')
          ),
          r AS (
            SELECT trace_id, max(start_time) AS at_, bool_and(empty) AS empty, bool_or(captured) AS captured, bool_and(retrieves) AS retrieves
            FROM looked GROUP BY trace_id
          ),
          captured AS (SELECT count(*) AS n FROM _s WHERE span_type = 'retriever' AND output_length > 2)
          SELECT coalesce(f.agent_name, f.service_name, 'the agent') AS key, coalesce(f.agent_name, f.service_name, 'the agent') AS subject, f.trace_id, f.span_id,
            f.span_id AS origin_span_id, 'output_text' AS field, left(f.answer, 300) AS quote
          FROM r JOIN _final f ON f.trace_id = r.trace_id AND f.end_time > r.at_
          WHERE r.empty AND (r.captured OR (SELECT n FROM captured) > 0) AND length(f.answer) >= 40
            AND NOT regexp_matches(f.answer, '{_ADMITS}') AND (r.retrieves OR NOT regexp_matches(f.answer, '{_NEGATES}') AND regexp_matches(f.answer, '\\d'))
            AND NOT EXISTS (SELECT 1 FROM _s o WHERE o.trace_id = r.trace_id AND o.span_type IN ('tool', 'retriever') AND NOT o.failed
              AND o.output_length > 0 AND NOT {_IS_EMPTY.replace("output_", "o.output_")})
          UNION ALL
          SELECT coalesce(f.agent_name, f.service_name, 'the agent'), coalesce(f.agent_name, f.service_name, 'the agent'), f.trace_id, f.span_id, f.span_id, 'output_text', left(f.answer, 300)
          FROM (
            SELECT trace_id, max(start_time) AS at_ FROM _told GROUP BY trace_id
            HAVING bool_and({_IS_EMPTY}) AND bool_and(regexp_matches(tool_name, '(?i)(search|retriev|knowledge|lookup|look_up|wiki|docs?\\b|document|kb_|faq)'))
          ) r JOIN _final f ON f.trace_id = r.trace_id AND f.end_time > r.at_
          WHERE length(f.answer) >= 40 AND NOT regexp_matches(f.answer, '{_ADMITS}')
        """,
        title="{subject} answers from an empty retrieval",
        description="Retrieval returns nothing and the agent answers as if it had sources.",
        fix="Tell the agent what to answer when retrieval is empty, return 'no documents found' as text, and require a citation for each claim.",
        validation="Answers after an empty retrieval should say that nothing was found.",
        confidence=0.75,
        severity="high",
    ),
)  # fmt: skip
