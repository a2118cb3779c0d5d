---
about = "Structures of arguments that break the schema of a tool, and how."

[columns]
definitions = "the tools that were offered, as in calls"
call_name = "the tool"
structure = "as in calls"
problem = "what is wrong"
---
SELECT * FROM _misfits
