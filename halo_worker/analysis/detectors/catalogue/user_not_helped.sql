---
name = "user_not_helped"
category = "Incorrect Problem Identification"
version = 1
scope = "group"
severity = "medium"
confidence = 0.75
needs = ["message content"]

title = "Answers of {subject} do not help: users {what}"
description = "What the user does after these answers says that they did not get what they wanted."
definition = """
After an answer its user sends the same request again, with the same words or with more of them, or corrects it; or \
cancelled the run and, within an hour, corrects it or asks again, more than half of the words the \
same; or feedback of a user calls it bad"""
cause = "The answer is not what the request asked for: users {what}."
fix = """
Read request, answer and what the user wrote next side by side; add what the user had to say again to what the agent \
is told or asks for before it acts."""
validation = "Fewer of the messages after an answer should repeat or correct it."
source = """
third-position repair (Schegloff, Jefferson and Sacks 1977); reformulation as a sign of dissatisfaction (Hassan et al. \
2013)"""
limits = """
messages of one trace or of one session, the first 300 characters; a request in which a word is replaced is another \
request; what comes more than five times is sent by a program; corrections in seven languages"""

[what]
"asks again" = "ask the same again"
corrects = "correct it"
cancels = "cancel it and ask again"
feedback = "rate it as bad"
---
SELECT subject || '|' || sign AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  s.name AS quote
FROM frustration f JOIN (SELECT trace_id, span_id, name FROM steps) s USING (trace_id, span_id)
UNION ALL
SELECT subject || '|' || sign, subject, said_trace_id, said_span_id, said_span_id, 'input_text', said
FROM frustration WHERE said IS NOT NULL
---
[[example]]
fires = true
why = "the user asks the same again, with more words"
spans = [
  { llm = "gpt-5", input = "please cancel my booking for the tide tour", output = "The tide tour starts at noon." },
  { llm = "gpt-5", input = "please cancel my booking for the tide tour, all of it", output = "It is cancelled." },
]

[[example]]
fires = true
why = "the user corrects it"
spans = [
  { llm = "gpt-5", input = "please cancel the tour on Monday", output = "All tours are cancelled." },
  { llm = "gpt-5", input = "No, I only wanted to cancel the one on Monday", output = "That cannot be undone." },
]

[[example]]
fires = false
why = "a conversation goes on"
spans = [
  { llm = "gpt-5", input = "please cancel the tour on Monday", output = "It is cancelled." },
  { llm = "gpt-5", input = "thank you, and when does the one on Tuesday start?", output = "At noon." },
]

[[example]]
fires = false
why = "another request of the same form"
spans = [
  { llm = "gpt-5", input = "write a summary of the report on tides", output = "Tides rise twice a day." },
  { llm = "gpt-5", input = "write a summary of the report on winds", output = "Winds turn at noon." },
]

[[example]]
fires = false
why = "a program asks again after a check that failed"
spans = [
  { llm = "gpt-5", input = "reply with a JSON object with the keys a and b", output = "a: 1" },
  { span = "parse", error = "no JSON" },
  { llm = "gpt-5", input = "reply with a JSON object with the keys a and b, nothing else", output = "a: 1" },
]

[[example]]
fires = true
why = "the next trace of the session asks the same"
times = 2
spans = [
  { llm = "gpt-5", input = "where is my parcel?", output = "It is sent.", attributes = { "session.id" = "again" } },
]

[[example]]
fires = false
why = "a program sends it"
times = 8
spans = [
  { llm = "gpt-5", input = "are you still there?", output = "Yes.", attributes = { "session.id" = "probe" } },
]

[[example]]
fires = true
why = "the user rates it as bad"

[[example.spans]]
llm = "gpt-5"
output = "The tide tour starts at noon."

[example.spans.attributes]
"annotations.0.annotation.name" = "user feedback"
"annotations.0.annotation.label" = "thumbs-down"
