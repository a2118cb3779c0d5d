---
about = "The failed work of runs that were told but not served."

[columns]
trace_id = "the trace"
span_id = "the last attempt"
work = "the tool"
class = "of its error, as in errors"
why = "an answer says what was missing, or asks for it"
root_failed = "the root ends in ERROR"
---
SELECT trace_id, span_id, work, class, why, root_failed FROM _unserved
