---
about = "Tool definitions that say which parameters there are."

[columns]
definitions = "as in calls"
---
SELECT * FROM _described
