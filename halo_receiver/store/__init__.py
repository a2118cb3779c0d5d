"""The only place that knows DuckDB and the schema."""
