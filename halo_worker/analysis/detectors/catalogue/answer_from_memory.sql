---
name = "answer_from_memory"
category = "Language-only"
driven_by = "dropped_plans"
version = 1
scope = "trace"
confidence = 0.6
needs = ["message content"]

title = "Agents answer without looking up what they planned to"
description = "The plan says what to look up; the answer is given without it, so nothing in the trace supports it."
definition = "An agent that planned to look things up answers from what the model remembers"
cause = "The step that looks it up is missing: between the plan and the answer no tool is called."
fix = "Require a source from a tool result for every fact in the answer."
validation = "Answers in traces without any tool call should fall."
source = "TRAIL, language-only hallucination: states facts nobody gave it, with no tool involved"
limits = "as planned_tool_unused; the answer may happen to be right"
---
SELECT 'memory' AS key, 'the agent' AS subject, trace_id, next_id AS span_id, next_id AS origin_span_id, field,
  quote
FROM dropped_plans
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
