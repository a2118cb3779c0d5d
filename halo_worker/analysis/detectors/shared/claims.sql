---
about = "Sentences of answers, to users and between agents, that claim an action: lexicon/claims.toml."

[columns]
trace_id = "the trace"
span_id = "the span"
claim = "its name"
subject = "who claims"
service_name = ""
quote = "the sentence"
conditional = "it is said of what may come: once I have …"
by_itself = "in the first person, or by the verb alone; else in the passive"
tool = "words in the name of a tool that does it, as a pattern"
---
SELECT * EXCLUDE passive FROM _claims
