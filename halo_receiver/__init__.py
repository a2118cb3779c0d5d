"""OTLP in, DuckDB segments out. Importing this package loads nothing."""
