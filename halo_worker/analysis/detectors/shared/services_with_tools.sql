---
about = "Services whose tools are captured: run, or offered to a model."
kind = "table"

[columns]
service_name = ""
---
SELECT DISTINCT service_name FROM steps WHERE span_type = 'tool' OR len(tools_offered) > 0
