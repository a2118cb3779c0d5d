"""What every part of a report is made of: frozen models, and times as unix nanoseconds that JSON writes as ISO-8601."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, field_validator


def iso_nano(unix_nano: int) -> str:
    """Write a time as ISO-8601 UTC with nine digits and Z, as every JSON of ours does."""
    seconds, nanos = divmod(unix_nano, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _unix_nano(value: Any) -> Any:
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(value.timestamp()) * 1_000_000_000 + value.microsecond * 1000
    if isinstance(value, str):
        head, _, fraction = value.rstrip("Z").partition(".")
        moment = datetime.fromisoformat(head).replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])
    return value


class Model(BaseModel):
    """The base of every part: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Nanoseconds since the Unix epoch in Python, ISO-8601 with nine digits and Z in JSON.
Moment = Annotated[int, PlainSerializer(iso_nano, return_type=str, when_used="json")]
MaybeMoment = Annotated[
    int | None,
    PlainSerializer(lambda value: None if value is None else iso_nano(value), return_type=str | None, when_used="json"),
]


class Timed(Model):
    """The base of parts with times."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_moments(cls, value: Any, info: Any) -> Any:
        field = cls.model_fields[info.field_name]
        return _unix_nano(value) if any(isinstance(meta, PlainSerializer) for meta in field.metadata) else value
