---
name = "plan_abandoned"
category = "Goal Deviation"
driven_by = "dropped_plans"
version = 3
scope = "trace"
confidence = 0.6
needs = ["message content"]

title = "Agents write a plan and do not follow it"
description = "The model call after the plan does something else, and no planned step that needs a tool is made."
definition = """
The model call after a plan leaves it: no step of the plan that looks something up or checks it is carried out, by a \
tool or in code"""
cause = "The steps that the plan names are missing: the run answers before them."
fix = "Keep the plan in the context as a list of open steps, and check it off before an answer is accepted."
validation = "The share of traces whose plan names tools and that call none should fall."
source = "TRAIL, Goal Deviation: the work drifts from its own plan; MAST 2.3, 2.6"
limits = """
as planned_tool_unused; a plan that was rightly dropped looks the same; of code, the first block among the first 2,000 \
characters of a turn is read"""
---
SELECT 'plan' AS key, 'the agent' AS subject, trace_id, next_id AS span_id, next_id AS origin_span_id, field, quote
FROM dropped_plans
-- Code follows a plan where it calls a tool; one that needs nothing looked up, where it computes.
WHERE NOT code_calls AND (seeks OR checks AND NOT code_computes)
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
fires = true
why = "nothing carries out the check that is planned"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Read the letters of the block.\n2. Join the rows.\n3. Verify the sentence."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "The tide turns at noon."

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

[[example]]
fires = false
why = "a block of code carries it out"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Read the letters of the block.\n2. Join the rows.\n3. Verify the sentence."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "Code:\n```py\nrows = ['HIGH', 'TIDE']\nfor row in rows:\n    print(row)\nfinal_answer(' '.join(rows))\n```"

[[example]]
fires = true
why = "the code hands over an answer and computes nothing"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Read the letters of the block.\n2. Join the rows.\n3. Verify the sentence."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "Code:\n```py\nfinal_answer('HIGH TIDE')\n```"

[[example]]
fires = false
why = "code calls the tool that the plan names"

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
input = "Write a plan first."
output = "1. Call web_search for the tide.\n2. Answer with the time."

[[example.spans]]
llm = "gpt-5"
tools = ["web_search"]
output = "Code:\n```py\nprint(web_search('tide'))\n```"
