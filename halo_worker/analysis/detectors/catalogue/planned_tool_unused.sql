---
name = "planned_tool_unused"
category = "Tool Selection Errors"
driven_by = "dropped_plans"
version = 3
scope = "trace"
confidence = 0.7
needs = ["message content"]

title = "The plan needs {subject}, and no tool is called"
description = "The plan takes {subject}, and the agent then answers without calling any tool."
definition = """
An agent that has tools makes a plan that names one or looks something up, and the run calls none, nor does its code"""
cause = "The call of {subject} that the plan needs is missing."
fix = "Do not accept a final answer before the tools that the plan names were called, or have the agent say why not."
validation = "Every tool that a plan names should be called in its trace."
source = "TRAIL, Tool Selection Errors: the wrong tool, or none where one was needed"
limits = """
needs the names of the tools on offer, and a plan, asked for in the prompt, as a numbered list among the first \
two answers"""
---
SELECT coalesce(named, 'a tool') AS key, coalesce(named, 'a tool') AS subject, trace_id, next_id AS span_id,
  next_id AS origin_span_id, field, quote
FROM dropped_plans WHERE seeks AND NOT code_calls
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

[[example]]
fires = false
why = "the plan needs nothing but the request"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Read the letters of the block.\n2. Join the rows.\n3. Derive the sentence."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "The tide turns at noon."
