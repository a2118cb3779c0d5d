"""The tables of a lake in its catalog's PostgreSQL, in the schema `halo`: `lake_state` and `lake_reports` use them."""

TABLES = """
CREATE SCHEMA IF NOT EXISTS halo;
CREATE TABLE IF NOT EXISTS halo.lake (version int NOT NULL, data text NOT NULL, buckets int NOT NULL);
CREATE TABLE IF NOT EXISTS halo.receivers (
  id text PRIMARY KEY, host text NOT NULL, data_dir text NOT NULL, seen_at timestamptz NOT NULL,
  published_until_ns bigint NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS halo.leases (
  name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL, expires_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS halo.publications (
  id bigserial PRIMARY KEY, receiver text NOT NULL, epoch bigint NOT NULL, segments text[] NOT NULL,
  state text NOT NULL DEFAULT 'claimed', claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  visible_at timestamptz, spans bigint NOT NULL DEFAULT 0, logs bigint NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS publications_visible ON halo.publications (visible_at) WHERE state = 'done';
CREATE TABLE IF NOT EXISTS halo.published (
  receiver text NOT NULL, segment text NOT NULL, publication bigint NOT NULL, PRIMARY KEY (receiver, segment)
);

-- Of workers. `change` numbers rows in the order in which they were committed, so that a host asks for what is new.
CREATE SEQUENCE IF NOT EXISTS halo.changes;
CREATE TABLE IF NOT EXISTS halo.reports (
  id text PRIMARY KEY, schedule text, window_end_ns bigint NOT NULL, writer text NOT NULL, change bigint NOT NULL,
  UNIQUE (schedule, window_end_ns)
);
CREATE INDEX IF NOT EXISTS reports_change ON halo.reports (change);
CREATE TABLE IF NOT EXISTS halo.report_files (
  report text NOT NULL REFERENCES halo.reports ON DELETE CASCADE, name text NOT NULL, content bytea NOT NULL,
  PRIMARY KEY (report, name)
);
CREATE TABLE IF NOT EXISTS halo.receipts (
  report text NOT NULL, sink text NOT NULL, note text NOT NULL, change bigint NOT NULL, PRIMARY KEY (report, sink)
);
CREATE INDEX IF NOT EXISTS receipts_change ON halo.receipts (change);
CREATE TABLE IF NOT EXISTS halo.records (change bigint PRIMARY KEY, file text NOT NULL, line text NOT NULL);
"""
