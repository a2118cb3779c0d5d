"""The worker's settings: the model, the budget of a run, the analysis, schedules and sinks.

Read by the receiver's loader: defaults < halo.toml < environment < flags. Secrets come from the environment.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator

from halo_receiver.config import AuthConfig, LakeConfig, ReceiverConfig, Section, Sections, StoreConfig, load
from halo_worker.config_alerts import AlertConfig
from halo_worker.config_cluster import ClusterConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.config_schedules import BudgetConfig, ScheduleConfig
from halo_worker.config_sources import SourceConfig
from halo_worker.display import is_loopback
from halo_worker.errors import ConfigError, InputError
from halo_worker.links import Links, is_address


class ModelConfig(Section):
    """`[model]`: which language model, where. Without a key or a base URL the detectors work alone."""

    name: str = Field("gpt-5.4-mini", description="The model of the root agent.")
    sub_model: str | None = Field(None, description="The model of sub-calls and syntheses; default: the same.")
    base_url: str | None = Field(None, description="An OpenAI-compatible endpoint; default: OPENAI_BASE_URL.")
    api_key: SecretStr | None = Field(None, description="From the environment; default: OPENAI_API_KEY.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every request.")
    api: Literal["chat", "responses"] = Field("chat", description="Which API the endpoint speaks.")
    temperature: float | None = Field(None, ge=0, le=2, description="Default: the provider's.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        None, description="Default: the provider's."
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Of one answer; default: the provider's.")
    parallel_tool_calls: bool = Field(True, description="Whether one turn may call several tools.")
    refusal_retries: int = Field(0, ge=0, description="How often a refusal is answered with 'Continue.'")
    request_timeout_seconds: float = Field(
        120, gt=0, description="How long a provider may be silent, between two events of an answer too."
    )
    max_retries: int = Field(6, ge=0, description="Of one request, for faults that can pass.")
    input_usd_per_million: float | None = Field(None, ge=0, description="Price, where the model is not in the list.")
    output_usd_per_million: float | None = Field(None, ge=0, description="Price, where the model is not in the list.")


class AnalysisConfig(Section):
    """`[analysis]`: how a window is worked."""

    engine: Literal["auto", "detectors", "rlm"] = Field(
        "auto", description="'auto': rlm when a key or base URL is set, else detectors."
    )
    route: Literal["auto", "direct", "map", "judge", "loop"] = Field("auto", description="How a model works a window.")
    settle_seconds: float = Field(
        120, ge=0, description="A trace is judged when nothing of it has arrived for this long."
    )
    settle_max_seconds: float = Field(3600, ge=0, description="… or when this has passed, whatever is open.")
    repo_path: Path | None = Field(None, description="The agents' source, for the code and git tools.")
    context: str | None = Field(None, description="What a reader should know about these agents.")
    expectations: Path | None = Field(None, description="A Markdown list of what the agents must do or never do.")
    memory_limit_bytes: int = Field(2 * 2**30, ge=256 * 2**20, description="What DuckDB may use for one analysis.")


class DetectorsConfig(Section):
    """`[detectors]`: detectors of your own, and those that are switched off."""

    paths: list[Path] = Field(
        default_factory=list, description="Files and folders with detectors, relative to the file of settings."
    )
    mute: list[str] = Field(default_factory=list, description="Names of detectors that do not run.")
    thresholds: dict[str, dict[str, Annotated[float, Field(gt=0)]]] = Field(
        default_factory=dict,
        description="By service and detector: from how many of its traces a finding counts; below 1, their share.",
    )


class WorkerConfig(Section):
    """`[worker]`: how the scheduled worker is watched."""

    metrics_endpoint: str = Field("127.0.0.1:4319", description="/metrics and /healthz, HOST:PORT; 'off' for none.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged on stderr.")
    log_format: Literal["text", "json"] = Field("text", description="How: lines for people, or one JSON object each.")

    @field_validator("metrics_endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        return _endpoint(value)


def _endpoint(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if value != "off" and not (colon and host and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{value!r}: expected HOST:PORT or 'off'")
    return value


class PageConfig(Section):
    """`[page]`: reports, issues and traces in the browser."""

    endpoint: str = Field("127.0.0.1:4320", description="Where the page listens, HOST:PORT; 'off' for none.")
    url: str | None = Field(
        None, description="Its address as people reach it; links in messages begin with it. Default: from endpoint."
    )
    behind_tls_proxy: bool = Field(
        False, description="A proxy in front of it ends TLS; else the certificate of [receiver] serves beyond loopback."
    )

    @field_validator("endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        return _endpoint(value)

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value and not is_address(value):
            raise ValueError("url must begin with http:// or https:// and hold no spaces, quotes or brackets")
        return value.rstrip("/") if value else None


class RedactionConfig(Section):
    """`[redaction]`: what is masked in everything that leaves the machine."""

    enabled: bool = Field(True, description="Mask keys, tokens and e-mail addresses.")
    patterns: list[str] = Field(default_factory=list, description="Further regular expressions (RE2's) to mask.")

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        from halo_receiver.store.regex import matches_empty  # loads DuckDB, which few commands need

        for pattern in patterns:
            try:
                empty = matches_empty(pattern)
            except InputError as error:
                raise ValueError(f"{error}; {error.hint}") from None
            if empty:
                raise ValueError(f"{pattern!r} matches the empty text, and so everything")
        return patterns


DEFAULT_SCHEDULES = {"daily": ScheduleConfig.model_validate({"cron": "0 6 * * *"})}

SECTIONS: Sections = {
    "store": StoreConfig,
    "receiver": ReceiverConfig,
    "auth": AuthConfig,
    "model": ModelConfig,
    "budget": BudgetConfig,
    "analysis": AnalysisConfig,
    "detectors": DetectorsConfig,
    "worker": WorkerConfig,
    "page": PageConfig,
    "schedules": [ScheduleConfig],
    "alerts": [AlertConfig],
    "sinks": [SinkConfig],
    "sources": [SourceConfig],
    "lake": LakeConfig,
    "cluster": ClusterConfig,
    "links": Links,
    "redaction": RedactionConfig,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, validated."""

    store: StoreConfig
    receiver: ReceiverConfig
    auth: AuthConfig
    model: ModelConfig
    budget: BudgetConfig
    analysis: AnalysisConfig
    detectors: DetectorsConfig
    worker: WorkerConfig
    page: PageConfig
    schedules: dict[str, ScheduleConfig]
    alerts: dict[str, AlertConfig]
    sinks: dict[str, SinkConfig]
    sources: dict[str, SourceConfig]
    lake: LakeConfig
    cluster: ClusterConfig
    links: Links
    redaction: RedactionConfig
    clickhouse_password: SecretStr | None = None

    def source(self, word: str) -> SourceConfig:
        """Return the source that a name or an address means. Raises ConfigError for another word."""
        if "://" not in word and word not in self.sources:
            raise ConfigError(
                f"there is no source '{word}'",
                hint=f"write clickhouse://user@host:8443/database, or add [sources.{word}]; configured are: "
                f"{', '.join(self.sources) or 'none'}",
            )
        found = self.sources.get(word) or SourceConfig.model_validate({"url": word})
        return found if found.password else found.model_copy(update={"password": self.clickhouse_password})

    def engine_for(self, asked: str | None = None) -> Literal["detectors", "rlm"]:
        """Say which engine works: what was asked, else rlm when a model can be reached, else the detectors."""
        engine = asked or self.analysis.engine
        if engine == "auto":
            return "rlm" if self.model.api_key or self.model.base_url else "detectors"
        return "rlm" if engine == "rlm" else "detectors"

    def links_in_messages(self) -> Links:
        """Return the addresses that messages lead to: a report is on the page, unless [links] names another place."""
        if self.links.report_url or (self.page.endpoint == "off" and not self.page.url):
            return self.links
        return self.links.model_copy(update={"report_url": f"{self.page_url()}/reports/{{id}}"})

    def page_url(self) -> str:
        """Return the address of the page as people reach it."""
        if self.page.url:
            return self.page.url
        host, _, port = self.page.endpoint.rpartition(":")
        local = is_loopback(f"http://{self.page.endpoint}")
        if host.strip("[]") in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = socket.gethostname()
        return f"{'https' if self.receiver.tls_cert_file and not local else 'http'}://{host}:{port}"


def load_settings(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read every setting. Raises ConfigError on anything unknown, malformed or contradictory."""
    environment = os.environ if environment is None else environment
    given = {name: dict(values) for name, values in (overrides or {}).items()}
    loaded = load(SECTIONS, file=file, environment=environment, overrides=given)
    model: ModelConfig = loaded["model"]
    standard = {
        "base_url": environment.get("OPENAI_BASE_URL") or None,
        "api_key": SecretStr(environment["OPENAI_API_KEY"]) if environment.get("OPENAI_API_KEY") else None,
    }
    loaded["model"] = model.model_copy(
        update={name: value for name, value in standard.items() if getattr(model, name) is None and value}
    )
    beside = (file.parent if file else Path()).absolute()
    own: DetectorsConfig = loaded["detectors"]
    loaded["detectors"] = own.model_copy(update={"paths": [beside / path for path in own.paths]})
    password = environment.get("CLICKHOUSE_PASSWORD")
    settings = Settings(
        **{**loaded, "schedules": loaded["schedules"] or DEFAULT_SCHEDULES},
        clickhouse_password=SecretStr(password) if password else None,
    )
    for name, schedule in settings.schedules.items():
        if schedule.source is not None:
            settings.source(schedule.source)
        _check_sinks(f"[schedules.{name}]", schedule.sinks, settings)
    for name, alert in settings.alerts.items():
        _check_sinks(f"[alerts.{name}]", alert.sinks, settings)
    return settings


def _check_sinks(where: str, named: list[str], settings: Settings) -> None:
    unknown = [sink for sink in named if sink not in settings.sinks]
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], settings.sinks, n=1, cutoff=0.5)
    known = f"did you mean '{close[0]}'?" if close else f"configured are: {', '.join(settings.sinks) or 'none'}"
    raise ConfigError(
        f"{where} names the sink '{unknown[0]}', which is not configured", hint=f"add [sinks.{unknown[0]}]; {known}"
    )
