"""The receiver's settings. The loader of all settings, the worker's too, is config_loader."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from halo_receiver.config_loader import Section, Sections, load

__all__ = ["AuthConfig", "LakeConfig", "ReceiverConfig", "Section", "Sections", "StoreConfig", "load", "load_receiver"]

MIN_KEY_CHARACTERS = 8  # of a key in [auth]
_NOT_IN_PATHS = re.compile(r"[?\\]")
_SCHEME = re.compile(r"\w+:")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class StoreConfig(Section):
    """`[store]`: where spans are kept, and for how long."""

    data_dir: Path = Field(Path("halo-data"), description="Everything halo keeps: spool, segments, reports.")
    group: str | None = Field(
        None, description="A group that may read all of it (0750 and 0640); default: this user alone (0700 and 0600)."
    )
    rotate_seconds: float = Field(60, gt=0, description="Age at which the open segment is sealed.")
    rotate_bytes: int = Field(128 * 2**20, ge=2**20, description="Size at which the open segment is sealed.")
    merge_bytes: int = Field(
        512 * 2**20, ge=0, description="Small sealed segments are merged up to this size; 0 merges never."
    )
    retention_days: float = Field(30, ge=0, description="Age at which sealed segments are deleted; 0 keeps them.")
    retention_bytes: int = Field(
        0, ge=0, description="Total size of segments over which the oldest are deleted; 0 means no limit."
    )
    memory_limit_bytes: int = Field(512 * 2**20, ge=64 * 2**20, description="What DuckDB may use in one process.")
    threads: int = Field(2, ge=1, description="Threads DuckDB may use in one process.")

    @field_validator("data_dir")
    @classmethod
    def _duckdb_can_open_it(cls, path: Path) -> Path:
        """Refuse what DuckDB takes for options, for a separator, or for the address of something else than a file."""
        whole = str(path.absolute())
        if not _encodes(whole):
            raise ValueError(f"the path {whole!r} is not UTF-8: DuckDB cannot open files in it")
        if found := _NOT_IN_PATHS.search(whole):
            raise ValueError(f"the path {whole!r} has a {found[0]!r}: DuckDB cannot open files in it")
        if _SCHEME.match(str(path)):
            raise ValueError(f"DuckDB would take {str(path)!r} for an address: write the whole path, {whole!r}")
        return path


class ReceiverConfig(Section):
    """`[receiver]`: what listens where, and what it accepts."""

    grpc_endpoint: str = Field("127.0.0.1:4317", description="OTLP/gRPC, HOST:PORT; 'off' for none.")
    http_endpoint: str = Field("127.0.0.1:4318", description="OTLP/HTTP, health and /metrics, HOST:PORT; 'off'.")
    max_request_bytes: int = Field(
        64 * 2**20, ge=2**10, description="A larger request is refused for good, also after decompression."
    )
    max_backlog_bytes: int = Field(
        16 * 2**30,
        ge=2**20,
        description="Acknowledged but not loaded; above it, or above what is free beside it, "
        "clients are told to come back.",
    )
    min_free_bytes: int = Field(
        256 * 2**20, ge=0, description="Free disk below which clients are told to come back, and readiness ends."
    )
    max_attribute_bytes: int = Field(2**20, ge=2**8, description="A longer attribute value is cut, marked and counted.")
    check_memory_bytes: int = Field(
        512 * 2**20, ge=128 * 2**20, description="A JSON request that takes more to look at is refused for good."
    )
    check_seconds: float = Field(
        10, gt=0, description="A JSON request that takes more processor time to look at is refused for good."
    )
    max_connections: int = Field(
        2048, ge=8, description="On each port; above it HTTP closes the longest idle one, and gRPC takes no other."
    )
    max_reading_bytes: int = Field(
        256 * 2**20,
        ge=2**20,
        description="What requests that are being read hold together; above it, those that stand still are told "
        "to come back. One always may.",
    )
    header_seconds: float = Field(10, gt=0, description="A connection is closed whose request header takes longer.")
    idle_seconds: float = Field(30, gt=0, description="An HTTP request of which nothing comes is told to come back.")
    read_seconds: float = Field(120, gt=0, description="A request that takes longer to come is told to come back.")
    idle_connection_seconds: float = Field(
        300, gt=0, description="A connection without requests is closed; clients connect again by themselves."
    )
    retry_seconds: float = Field(5, gt=0, description="When to come back, as told to clients (RetryInfo, Retry-After).")
    drain_seconds: float = Field(20, ge=0, description="How long SIGTERM waits for requests and the loader.")
    api_keys: list[SecretStr] = Field(
        default_factory=list, description="The older name of [auth] ingest_keys; both are accepted."
    )
    tls_cert_file: Path | None = Field(None, description="Certificate chain (PEM); reread when the file changes.")
    tls_key_file: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    tls_client_ca_file: Path | None = Field(None, description="Demand client certificates signed by these (mTLS).")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged on stderr.")
    log_format: Literal["text", "json"] = Field("text", description="How: lines for people, or one JSON object each.")

    @field_validator("api_keys")
    @classmethod
    def _keys_can_be_sent(cls, keys: list[SecretStr]) -> list[SecretStr]:
        return _checked_keys(keys, at_least=1)  # short ones were accepted under this name: a start says so

    @model_validator(mode="after")
    def _endpoints_and_tls_agree(self) -> ReceiverConfig:
        for name in ("grpc_endpoint", "http_endpoint"):
            value = getattr(self, name)
            host, colon, port = value.rpartition(":")
            if value != "off" and not (colon and host and port.isdigit() and int(port) < 65536):
                raise ValueError(f"{name} is {value!r}: expected HOST:PORT or 'off'")
        if self.grpc_endpoint == self.http_endpoint == "off":
            raise ValueError("grpc_endpoint and http_endpoint are both 'off': nothing would be received")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file must be set together")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        return self


class AuthConfig(Section):
    """`[auth]`: bearer keys, and what each may do. From the environment, comma separated."""

    ingest_keys: list[SecretStr] = Field(
        default_factory=list, description="May export, and nothing else; without any, whoever can connect may."
    )
    read_keys: list[SecretStr] = Field(
        default_factory=list, description="May read /metrics; with these or operator_keys nobody else may."
    )
    operator_keys: list[SecretStr] = Field(
        default_factory=list, description="May do everything: export, read, and seal, list and ask for the status."
    )
    metrics_open: bool = Field(
        False, description="Show /metrics, which names your services, to whoever can connect, whatever keys are set."
    )

    @field_validator("ingest_keys", "read_keys", "operator_keys")
    @classmethod
    def _keys_can_be_sent(cls, keys: list[SecretStr]) -> list[SecretStr]:
        return _checked_keys(keys, at_least=MIN_KEY_CHARACTERS)


def _checked_keys(keys: list[SecretStr], *, at_least: int) -> list[SecretStr]:
    """Refuse keys that no header can carry, or that are soon guessed. No message shows a key."""
    for number, key in enumerate(keys, 1):
        text = key.get_secret_value()
        if not text.strip():
            raise ValueError(f"key {number} is empty: it would let everybody in")
        if not all("!" <= character <= "~" for character in text):
            raise ValueError(f"key {number} has a space or a character that is not ASCII: no header can carry it")
        if len(text) < at_least:
            raise ValueError(f"key {number} has {len(text)} characters, {at_least} are needed: openssl rand -hex 24")
    return keys


class LakeConfig(Section):
    """`[lake]`: one store of many hosts, a DuckLake: its catalog in PostgreSQL, its rows as Parquet in S3."""

    catalog: SecretStr | None = Field(
        None, description="PostgreSQL, in libpq's words: 'host=pg dbname=halo user=halo'. Empty: no lake."
    )
    data: str = Field(
        "", description="Where the Parquet files lie: s3://bucket/folder/, or a directory that all share."
    )
    endpoint: str = Field("", description="Of S3, such as https://s3.internal:8333; default: Amazon's.")
    extensions: Path | None = Field(
        None, description="A directory of DuckDB's extension files; default: the wheels, else DuckDB's own."
    )
    publish_seconds: float = Field(300, gt=0, description="How often a receiver publishes its sealed segments.")
    publish_bytes: int = Field(128 * 2**20, ge=2**20, description="… and at once when so much of them waits.")
    buckets: int = Field(0, ge=0, le=1024, description="Split files by trace id; for 'halo lake init' alone. 0: not.")
    keep_local_hours: float = Field(24, gt=0, description="How long a receiver keeps segments that are published.")
    retention_days: float = Field(30, ge=0, description="Age at which 'halo lake retain' deletes; 0 keeps all.")
    lease_seconds: float = Field(
        30, gt=0, description="After which a publisher or worker that is not heard of is taken to be gone."
    )

    @property
    def on(self) -> bool:
        """Whether there is a lake."""
        return self.catalog is not None

    @field_validator("catalog")
    @classmethod
    def _empty_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value and value.get_secret_value().strip() else None

    @model_validator(mode="after")
    def _place_is_whole(self) -> LakeConfig:
        if not self.on:
            return self
        if not (self.data.startswith("s3://") or Path(self.data).is_absolute()):
            raise ValueError(f"data is {self.data!r}: expected s3://bucket/folder/, or the whole path of a directory")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint is {self.endpoint!r}: it begins with http:// or https://")
        return self

    def catalog_words(self) -> str | None:
        """Return the catalog as it was written, with its password if it has one."""
        return self.catalog.get_secret_value() if self.catalog else None

    def keys(self) -> dict[str, str]:
        """Return the keys of S3 as DuckDB's secrets name them; none where the environment has none."""
        names = {"KEY_ID": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY", "SESSION_TOKEN": "AWS_SESSION_TOKEN"}
        return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}

    def region(self) -> str:
        """Return the region of S3."""
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


RECEIVER_SECTIONS: Sections = {
    "store": StoreConfig, "receiver": ReceiverConfig, "auth": AuthConfig, "lake": LakeConfig,
}  # fmt: skip
# Sections of the worker, which this package may not import: known, so that one file serves both.
OTHER_SECTIONS = (
    "model", "budget", "analysis", "detectors", "worker", "page", "schedules", "alerts", "sinks", "sources", "cluster",
    "links", "redaction",
)  # fmt: skip


def load_receiver(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[StoreConfig, ReceiverConfig, AuthConfig, LakeConfig]:
    """Read what the receiver needs."""
    loaded = load(RECEIVER_SECTIONS, file=file, environment=environment, overrides=overrides, others=OTHER_SECTIONS)
    return loaded["store"], loaded["receiver"], loaded["auth"], loaded["lake"]
