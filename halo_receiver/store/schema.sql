-- One segment: what a rolling DuckDB file holds. `schema.py` fills in nothing; this text is also what a model is shown.
-- Times are TIMESTAMP_NS (UTC); NULL where the sender said 0. Long text is zstd; ids and names compress by dictionary.

CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);

-- Which part of the spool this file holds; written in the same transaction as the rows, so a crash loads nothing twice.
CREATE TABLE spool_position (file BIGINT NOT NULL, byte_offset BIGINT NOT NULL);

-- Attributes are two lists, keys and JSON-encoded values: filtering by one key costs a list lookup, not a JSON parse
-- (4 to 8 times cheaper, measured), and types survive. Values longer than 512 bytes go to `long_attributes` instead,
-- one JSON object: DuckDB cannot compress a list with zstd, and these are nearly all of the bytes. Likewise `events`
-- is JSON text here and a list of structs in the view.
CREATE TABLE span_rows (
  trace_id VARCHAR NOT NULL,
  span_id VARCHAR NOT NULL,
  parent_span_id VARCHAR,                     -- NULL for a root
  trace_state VARCHAR,
  flags UINTEGER,
  name VARCHAR,
  kind VARCHAR,
  start_time TIMESTAMP_NS,
  end_time TIMESTAMP_NS,
  duration_ns BIGINT,
  status_code VARCHAR,
  status_message VARCHAR USING COMPRESSION zstd,
  service_name VARCHAR,
  scope_name VARCHAR,
  scope_version VARCHAR,
  resource_attributes VARCHAR,                -- JSON object, as sent
  scope_attributes VARCHAR,
  attribute_keys VARCHAR[],
  attribute_values VARCHAR[],
  long_attributes VARCHAR USING COMPRESSION zstd,
  events VARCHAR USING COMPRESSION zstd,      -- JSON: [{time (unix ns), name, attributes, dropped_attributes}]
  links STRUCT(trace_id VARCHAR, span_id VARCHAR, trace_state VARCHAR, flags UINTEGER, attributes VARCHAR, dropped_attributes UINTEGER)[],
  dropped_attributes UINTEGER,
  dropped_events UINTEGER,
  dropped_links UINTEGER,
  resource_schema_url VARCHAR,
  scope_schema_url VARCHAR,
  resource_dropped_attributes UINTEGER,
  scope_dropped_attributes UINTEGER,
  received_at TIMESTAMP_NS NOT NULL,
  -- long_attributes, tool_definitions, the messages, input_text and output_text of most rows, in this order, with U+001E
  -- between them: they repeat each other, which costs nothing once they are compressed together. The views take them out.
  texts VARCHAR USING COMPRESSION zstd,
  -- normalised from whatever convention sent it; NULL where it does not say
  convention VARCHAR,
  span_type VARCHAR,
  model VARCHAR,
  provider VARCHAR,
  agent_name VARCHAR,
  session_id VARCHAR,
  user_id VARCHAR,
  tool_name VARCHAR,
  tool_call_id VARCHAR,
  tools_offered VARCHAR[],
  tool_definitions VARCHAR USING COMPRESSION zstd,
  input_messages VARCHAR USING COMPRESSION zstd,
  output_messages VARCHAR USING COMPRESSION zstd,
  input_text VARCHAR USING COMPRESSION zstd,
  output_text VARCHAR USING COMPRESSION zstd,
  finish_reason VARCHAR,
  max_output_tokens BIGINT,
  input_tokens BIGINT,
  output_tokens BIGINT,
  cached_tokens BIGINT,
  reasoning_tokens BIGINT,
  cost_usd DOUBLE,
  cost_estimated BOOLEAN,
  error_type VARCHAR,
  error_message VARCHAR USING COMPRESSION zstd,
  error_signature VARCHAR
);

CREATE TABLE log_rows (
  "time" TIMESTAMP_NS,
  observed_time TIMESTAMP_NS,
  trace_id VARCHAR,
  span_id VARCHAR,
  severity_number INTEGER,
  severity_text VARCHAR,
  event_name VARCHAR,
  body VARCHAR USING COMPRESSION zstd,        -- JSON value
  attribute_keys VARCHAR[],
  attribute_values VARCHAR[],
  long_attributes VARCHAR USING COMPRESSION zstd,
  flags UINTEGER,
  dropped_attributes UINTEGER,
  resource_attributes VARCHAR,
  resource_schema_url VARCHAR,
  resource_dropped_attributes UINTEGER,
  scope_name VARCHAR,
  scope_version VARCHAR,
  scope_attributes VARCHAR,
  scope_schema_url VARCHAR,
  scope_dropped_attributes UINTEGER,
  service_name VARCHAR,
  received_at TIMESTAMP_NS NOT NULL,
  span_facts VARCHAR USING COMPRESSION zstd   -- JSON object: the canonical columns this record fills in for its span
);

-- One row a trace, kept as the segment is written: an overview of millions of spans reads only this.
CREATE TABLE trace_rows (
  trace_id VARCHAR NOT NULL,
  root_name VARCHAR,
  service_names VARCHAR[],
  agent_names VARCHAR[],
  models VARCHAR[],
  start_time TIMESTAMP_NS,
  end_time TIMESTAMP_NS,
  duration_ns BIGINT,
  span_count BIGINT,
  error_count BIGINT,
  status_code VARCHAR,
  input_tokens BIGINT,
  output_tokens BIGINT,
  cost_usd DOUBLE,
  session_id VARCHAR,
  user_id VARCHAR,
  first_received_at TIMESTAMP_NS,
  last_received_at TIMESTAMP_NS
);
