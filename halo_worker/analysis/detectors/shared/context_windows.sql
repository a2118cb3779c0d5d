---
about = "The context window of each model that has a known one."

[columns]
served_model = ""
size = "tokens"
---
SELECT * FROM _windows
