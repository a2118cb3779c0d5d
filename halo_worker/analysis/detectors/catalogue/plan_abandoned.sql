---
name = "plan_abandoned"
category = "Goal Deviation"
version = 1
scope = "trace"
confidence = 0.6
needs = ["message content"]

title = "Agents write a plan and do not follow it"
description = "The model call after the plan does something else, and no planned step that needs a tool is made."
definition = "The model call after a plan leaves it: no step of the plan that needs a tool is carried out"
fix = "Keep the plan in the context as a list of open steps, and check it off before an answer is accepted."
validation = "The share of traces whose plan names tools and that call none should fall."
source = "TRAIL, Goal Deviation: the work drifts from its own plan; MAST 2.3, 2.6"
limits = "as planned_tool_unused; a plan that was rightly dropped looks the same"
---
SELECT 'plan' AS key, 'the agent' AS subject, trace_id, next_id AS span_id, next_id AS origin_span_id, field, quote
FROM dropped_plans
