"""The worker's settings: the model, the budget of a run, the analysis, schedules and sinks.

Read by the receiver's loader: defaults < halo.toml < environment < flags. Secrets come from the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from halo_receiver.config import AuthConfig, ReceiverConfig, Section, Sections, StoreConfig, load
from halo_worker.errors import ConfigError, InputError
from halo_worker.links import Links, checked
from halo_worker.moments import seconds_of


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


class BudgetConfig(Section):
    """`[budget]`: what one run may spend. Spending never passes a limit by more than the call in flight."""

    max_turns: int = Field(20, ge=1, description="Turns of the root agent.")
    max_depth: int = Field(2, ge=0, description="How deep sub-agents may nest.")
    max_parallel: int = Field(10, ge=1, description="Sub-calls at once, for each depth.")
    max_tokens: int | None = Field(2_000_000, ge=1, description="Input and output tokens of all calls.")
    max_cost: float | None = Field(5.0, gt=0, description="Dollars, where the model's price is known.")
    max_seconds: float | None = Field(1800, gt=0, description="Wall time.")


class AnalysisConfig(Section):
    """`[analysis]`: how a window is worked."""

    engine: Literal["auto", "detectors", "rlm"] = Field(
        "auto", description="'auto': rlm when a key or base URL is set, else detectors."
    )
    route: Literal["auto", "direct", "map", "loop"] = Field("auto", description="How a model works a window.")
    settle_seconds: float = Field(
        120, ge=0, description="A trace is judged when nothing of it has arrived for this long."
    )
    settle_max_seconds: float = Field(3600, ge=0, description="… or when this has passed, whatever is open.")
    repo_path: Path | None = Field(None, description="The agents' source, for the code and git tools.")
    context: str | None = Field(None, description="What a reader should know about these agents.")
    memory_limit_bytes: int = Field(2 * 2**30, ge=256 * 2**20, description="What DuckDB may use for one analysis.")


class DetectorsConfig(Section):
    """`[detectors]`: detectors of your own, and those that are switched off."""

    paths: list[Path] = Field(
        default_factory=list, description="Files and folders with detectors, relative to the file of settings."
    )
    mute: list[str] = Field(default_factory=list, description="Names of detectors that do not run.")


class WorkerConfig(Section):
    """`[worker]`: how the scheduled worker is watched."""

    metrics_endpoint: str = Field("127.0.0.1:4319", description="/metrics and /healthz, HOST:PORT; 'off' for none.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged on stderr.")
    log_format: Literal["text", "json"] = Field("text", description="How: lines for people, or one JSON object each.")

    @field_validator("metrics_endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if value != "off" and not (colon and host and port.isdigit() and int(port) < 65536):
            raise ValueError(f"{value!r}: expected HOST:PORT or 'off'")
        return value


class ScheduleConfig(Section):
    """`[schedules.NAME]`: when a window is analysed, which one, and who is told."""

    cron: str | None = Field(None, description="Five fields: minute hour day month weekday.")
    interval: str | None = Field(None, description="Instead of cron: '15m', '6h', '1d', from 00:00 UTC on.")
    timezone: str = Field("UTC", description="Of the cron line: an IANA name such as Europe/Berlin.")
    window: str | None = Field(
        None, description="Length, if windows are to overlap; default: from the last one's end, 24h the first time."
    )
    overlap: str = Field("0s", description="How far a window reaches back over the one before.")
    max_window: str = Field("7d", description="After downtime, the longest window that one run takes.")
    catch_up: Literal["one", "all", "none"] = Field(
        "one", description="After downtime: one run over all that was missed, one run for each, or none."
    )
    services: list[str] = Field(default_factory=list, description="Only traces of these services.")
    agents: list[str] = Field(default_factory=list, description="Only traces of these agents.")
    prompt: str | None = Field(None, description="A question to answer in each report; needs a model.")
    engine: Literal["auto", "detectors", "rlm"] | None = Field(None, description="Default: [analysis] engine.")
    budget: dict[str, float | int | None] = Field(default_factory=dict, description="Overrides of [budget].")
    sinks: list[str] = Field(default_factory=list, description="Names of [sinks.NAME].")

    @model_validator(mode="after")
    def _is_a_schedule(self) -> ScheduleConfig:
        if (self.cron is None) == (self.interval is None):
            raise ValueError("needs either cron or interval")
        if self.cron is not None and len(fields := self.cron.split()) != 5:
            without = f"; without seconds it is '{' '.join(fields[1:])}'" if len(fields) == 6 else ""
            raise ValueError(
                f"cron {self.cron!r} has {len(fields)} fields, not five: write minute hour day month weekday{without}"
            )
        for name in ("interval", "window", "overlap", "max_window"):
            if (value := getattr(self, name)) is not None:
                try:
                    seconds_of(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        if self.interval is not None and seconds_of(self.interval) < 1:
            raise ValueError("interval is shorter than a second")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            close = difflib.get_close_matches(self.timezone, available_timezones(), n=1, cutoff=0.6)
            meant = f": did you mean '{close[0]}'?" if close else " such as Europe/Berlin"
            raise ValueError(f"timezone {self.timezone!r} is not an IANA name{meant}") from None
        try:
            BudgetConfig.model_validate(self.budget)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            given = str(first["loc"][0])
            if given in BudgetConfig.model_fields:
                raise ValueError(f"budget.{given}: {first['msg']}") from None
            close = difflib.get_close_matches(given, BudgetConfig.model_fields, n=1, cutoff=0.5)
            known = f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(BudgetConfig.model_fields)}"
            raise ValueError(f"budget has no '{given}'; {known}") from None
        return self


class FilterConfig(Section):
    """What of a report a sink is told."""

    min_severity: Literal["low", "medium", "high", "critical"] = Field(
        "low", description="Findings below are left out."
    )
    states: list[Literal["new", "ongoing", "worsening", "improving", "regressed", "resolved"]] = Field(
        default_factory=list, description="Only findings in these states; empty: all."
    )
    agents: list[str] = Field(default_factory=list, description="Only findings that touch these agents; empty: all.")


class SinkConfig(Section):
    """`[sinks.NAME]`: where reports go."""

    type: Literal["file", "webhook", "slack"] = Field(description="What kind of sink.")
    path: str | None = Field(None, description="file: a directory, or '-' for standard output.")
    format: Literal["json", "markdown", "html"] = Field("json", description="file: the form of the report.")
    url: SecretStr | None = Field(None, description="webhook, or Slack's incoming webhook.")
    secret: SecretStr | None = Field(None, description="webhook: signing secret 'whsec_…'; from the environment.")
    headers: dict[str, str] = Field(default_factory=dict, description="webhook: sent with each request.")
    template: Path | None = Field(None, description="webhook: a Jinja template of the body instead of report.json.")
    token: SecretStr | None = Field(None, description="slack: bot token; from the environment.")
    channel: str | None = Field(None, description="slack: where the bot posts.")
    report_url: str | None = Field(None, description="slack: link to a report, instead of [links] report_url.")
    quiet: bool | None = Field(
        None,
        description="Send nothing when no finding is new or changed its state; default: true, and false for files.",
    )
    timeout_seconds: float = Field(20, gt=0, description="Of one request.")
    max_attempts: int = Field(
        40, ge=1, description="Before a delivery waits for 'halo deliver'; 40 take about 30 hours."
    )
    filter: FilterConfig = Field(
        default_factory=lambda: FilterConfig.model_validate({}), description="What it is told."
    )

    @property
    def is_quiet(self) -> bool:
        """Whether a report without news is not sent: a message about nothing is read once, a file is a record."""
        return self.type != "file" if self.quiet is None else self.quiet

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> SinkConfig:
        if self.type == "file" and not self.path:
            raise ValueError("a file sink needs path")
        if self.type == "webhook" and self.url is None:
            raise ValueError("a webhook sink needs url")
        if self.type == "slack" and self.url is None and (self.token is None or not self.channel):
            raise ValueError("a slack sink needs url, or token and channel")
        return self

    @field_validator("report_url")
    @classmethod
    def _is_a_template(cls, template: str | None) -> str | None:
        return checked("report_url", template)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        return url


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
    "schedules": [ScheduleConfig],
    "sinks": [SinkConfig],
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
    schedules: dict[str, ScheduleConfig]
    sinks: dict[str, SinkConfig]
    links: Links
    redaction: RedactionConfig

    def engine_for(self, asked: str | None = None) -> Literal["detectors", "rlm"]:
        """Say which engine works: what was asked, else rlm when a model can be reached, else the detectors."""
        engine = asked or self.analysis.engine
        if engine == "auto":
            return "rlm" if self.model.api_key or self.model.base_url else "detectors"
        return "rlm" if engine == "rlm" else "detectors"


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
    settings = Settings(**{**loaded, "schedules": loaded["schedules"] or DEFAULT_SCHEDULES})
    for name, schedule in settings.schedules.items():
        unknown = [sink for sink in schedule.sinks if sink not in settings.sinks]
        if unknown:
            close = difflib.get_close_matches(unknown[0], settings.sinks, n=1, cutoff=0.5)
            known = f"did you mean '{close[0]}'?" if close else f"configured are: {', '.join(settings.sinks) or 'none'}"
            raise ConfigError(
                f"[schedules.{name}] names the sink '{unknown[0]}', which is not configured",
                hint=f"add [sinks.{unknown[0]}]; {known}",
            )
    return settings
