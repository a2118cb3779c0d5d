---
about = """
Traces of which a detector says why they failed. That a run is slow, dear or badly recorded explains nothing."""

[columns]
trace_id = "the trace"
---
SELECT DISTINCT trace_id FROM hits WHERE detector NOT IN (
  'broken_telemetry', 'result_without_call', 'latency_outlier', 'latency_shift', 'token_outlier', 'token_shift',
  'cost_outlier', 'context_pressure')
