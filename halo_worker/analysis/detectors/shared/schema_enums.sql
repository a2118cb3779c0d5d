---
about = "Arguments that may have some values only."

[columns]
definitions = "as in calls"
call_name = "the tool"
path = "of the argument, as JSON path"
allowed = "the values"
---
SELECT * FROM _enums
