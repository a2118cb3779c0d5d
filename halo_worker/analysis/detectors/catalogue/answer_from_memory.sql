---
name = "answer_from_memory"
category = "Language-only"
driven_by = "dropped_plans"
version = 3
scope = "trace"
confidence = 0.6
needs = ["message content"]

title = "Agents answer {what}"
description = "Agents answer {what}: between plan and answer nothing runs, so nothing in the trace supports the answer."
definition = """
An agent that has tools and made a plan answers without any: from what the model remembers where it planned to look \
things up, else unchecked"""
cause = "The step that finds or checks the answer is missing: between the plan and the answer no tool is called."
fix = "Require a source from a tool result for every fact in the answer, and a check by a tool of what was worked out."
validation = "Answers in traces without any tool call should fall."
source = "TRAIL, language-only hallucination: states facts nobody gave it, with no tool involved"
limits = "as planned_tool_unused; the answer may happen to be right"

[what]
memory = "without looking up what they planned to"
unchecked = "with what the model alone worked out, unchecked by any of their tools"
---
SELECT CASE WHEN seeks THEN 'memory' ELSE 'unchecked' END AS key, 'the agent' AS subject, trace_id, next_id AS span_id,
  next_id AS origin_span_id, field, quote
FROM dropped_plans WHERE NOT code_calls
---
[[example]]
fires = true
why = "planned, not called"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Call web_search for the tide.\n2. Answer with the time."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "High tide is at noon."

[[example]]
fires = false
why = "planned and called"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Call web_search for the tide.\n2. Answer with the time."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
calls = ["web_search"]

[[example.spans]]
tool = "web_search"
input = '{"q": 1}'
output = "noon"

[[example.spans]]
llm = "gpt-5"
output = "High tide is at noon."
