"""`[sources.NAME]`: other stores whose traces are read in place."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from halo_receiver.config import Section
from halo_worker.moments import seconds_of


class SourceConfig(Section):
    """`[sources.NAME]`: a table of spans elsewhere, for `--source NAME` and `source` of a schedule."""

    url: SecretStr = Field(description="clickhouse://user@host:8443/database; '?table=NAME' names another table.")
    password: SecretStr | None = Field(None, description="From the environment; default: CLICKHOUSE_PASSWORD.")
    max_rows: int = Field(50_000_000, ge=1, description="Spans that one window may hold; a larger one is refused.")
    margin: str = Field("24h", description="How far around a window the spans of its traces are looked for.")

    @field_validator("margin")
    @classmethod
    def _is_a_length(cls, value: str) -> str:
        seconds_of(value)
        return value
