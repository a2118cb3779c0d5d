"""The settings of where reports go: `[sinks.NAME]` and its filter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from halo_receiver.config import Section
from halo_worker.links import checked


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
