---
about = "The spans of the window, texts shortened: what detectors ask of a span."

[columns]
trace_id = "the trace"
span_id = "the span"
parent_span_id = "NULL of a root"
name = "the span's name"
span_type = """
llm, tool, retriever, embedding, reranker, agent, workflow, chain, task, memory, evaluator, guardrail, prompt, \
other; NULL of plain code"""
kind = "INTERNAL, CLIENT, SERVER, PRODUCER or CONSUMER"
status_code = "UNSET, OK or ERROR"
failed = "its status is ERROR, or it carries an error"
control = "the kind of control flow that its error is (a pause, a cancellation); else NULL"
start_time = ""
end_time = "NULL where it never ended"
duration_ns = "nanoseconds"
service_name = ""
version = "service.version"
convention = "whose attributes it has, by halo_receiver/conventions"
agent_name = "the agent it belongs to"
work = "what is done: tool_name, else name"
actor = "who does it: agent_name, else model, else name"
tool_name = ""
tool_call_id = ""
arguments = "of a tool: its input, 2,000 characters"
input_hash = "of a tool or retriever: equal for equal inputs"
model = "asked for"
served_model = "that answered"
provider = ""
finish_reason = ""
max_output_tokens = "the limit that was set"
input_tokens = ""
output_tokens = ""
cost_usd = "as sent or estimated"
tools_offered = "names of the tools that a model call was offered"
definitions = "equal for equal tool definitions"
tool_calls = "JSON of the calls that a model asked for"
calls = "their number"
plans = "a model call that was asked for a plan and wrote one"
has_output = "messages were captured"
media = "the output is an image, a file or audio"
system_head = "the beginning of the system prompt, 80 characters"
asked = "the beginning of the input, 300 characters"
output_head = "the beginning of the output, 2,000 characters"
output_length = "characters of the whole output"
output_hash = "equal for equal outputs; times and ids in results of tools do not count"
error_type = ""
error_message = "1,000 characters"
status_message = "1,000 characters"
error_signature = "the error with ids and numbers masked"
---
SELECT trace_id, span_id, parent_span_id, name, span_type, kind, status_code, failed, control, start_time, end_time,
  duration_ns, service_name, version, convention, agent_name, coalesce(tool_name, name) AS work,
  coalesce(agent_name, model, name) AS actor, tool_name, tool_call_id, arguments, input_hash, model, served_model,
  provider, finish_reason, max_output_tokens, input_tokens, output_tokens, cost_usd, tools_offered, definitions,
  tool_calls, calls, plans, has_output, media, system_head, asked, output_head, output_length, output_hash, error_type,
  error_message, status_message, error_signature
FROM _s
