"""`[cluster]`: how windows are worked that are too large for one process."""

from __future__ import annotations

from pydantic import Field, field_validator

from halo_receiver.config import Section


class ClusterConfig(Section):
    """`[cluster]`: how windows of a lake or of another store are worked that are too large for one process."""

    scheduler: str = Field(
        "", description="Of a Dask cluster: tcp://HOST:PORT or tls://HOST:PORT. Empty: processes of this host."
    )
    part_spans: int = Field(50_000_000, ge=1, description="A window of more spans is worked in parts of about so many.")
    workers: int = Field(0, ge=0, le=1024, description="Processes of this host; 0: as many as [store] threads.")

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        scheme, separator, place = value.partition("://")
        host, _, port = place.rpartition(":")
        if value and not (separator and scheme in ("tcp", "tls") and host and port.isdigit() and int(port) < 65536):
            raise ValueError(f"{value!r}: expected tcp://HOST:PORT or tls://HOST:PORT")
        return value
