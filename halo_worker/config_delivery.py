"""The settings of where reports go: `[sinks.NAME]` and its filter."""

from __future__ import annotations

import re
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

    type: Literal["file", "webhook", "slack", "github"] = Field(description="What kind of sink.")
    path: str | None = Field(None, description="file: a directory, or '-' for standard output.")
    format: Literal["json", "markdown", "html"] = Field("json", description="file: the form of the report.")
    url: SecretStr | None = Field(None, description="webhook, or Slack's incoming webhook.")
    secret: SecretStr | None = Field(None, description="webhook: signing secret 'whsec_…'; from the environment.")
    headers: dict[str, str] = Field(default_factory=dict, description="webhook: sent with each request.")
    template: Path | None = Field(None, description="webhook: a Jinja template of the body instead of report.json.")
    token: SecretStr | None = Field(
        None, description="slack: bot token; github: one that may read and write issues. From the environment."
    )
    channel: str | None = Field(None, description="slack: where the bot posts.")
    report_url: str | None = Field(None, description="slack, github: link to a report, instead of [links] report_url.")
    repo: str | None = Field(None, description="github: OWNER/NAME.")
    labels: list[str] = Field(default_factory=list, description="github: labels of a new issue, beside 'halo'.")
    assignee: str | None = Field(None, description="github: who gets a new issue.")
    endpoint: str = Field(
        "https://api.github.com", description="github: the API; of an Enterprise server https://HOST/api/v3."
    )
    quiet: bool | None = Field(
        None,
        description="Send nothing when no finding is new or changed its state; default: true, and false for file and "
        "github.",
    )
    timeout_seconds: float = Field(20, gt=0, description="Of one request.")
    max_attempts: int = Field(
        40, ge=1, description="Before a delivery waits for 'halo deliver'; 40 take about 30 hours."
    )
    filter: FilterConfig = Field(
        default_factory=lambda: FilterConfig.model_validate({}),
        description="What it is told; github: what gets an issue, which is then followed whatever becomes of it.",
    )

    @property
    def is_tracker(self) -> bool:
        """Whether it keeps a ticket per failure mode, and must hear of each until it is resolved."""
        return self.type == "github"

    @property
    def is_repeatable(self) -> bool:
        """Whether a report that is sent twice leaves what it leaves once: the same file, the same tickets."""
        return self.type in ("file", "github")

    @property
    def is_quiet(self) -> bool:
        """Whether a report without news is not sent: a message about nothing is read once, files and tickets stay."""
        return self.type not in ("file", "github") if self.quiet is None else self.quiet

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> SinkConfig:
        if self.type == "file" and not self.path:
            raise ValueError("a file sink needs path")
        if self.type == "webhook" and self.url is None:
            raise ValueError("a webhook sink needs url")
        if self.type == "slack" and self.url is None and (self.token is None or not self.channel):
            raise ValueError("a slack sink needs url, or token and channel")
        if self.type == "github" and not self.repo:
            raise ValueError("a github sink needs repo = 'OWNER/NAME'")
        if self.type == "github" and self.token is None:
            raise ValueError(
                "a github sink needs a token, in the environment as HALO_SINKS_NAME_TOKEN (NAME: the sink's)"
            )
        return self

    @field_validator("report_url")
    @classmethod
    def _is_a_template(cls, template: str | None) -> str | None:
        return checked("report_url", template)

    @field_validator("repo")
    @classmethod
    def _is_a_repository(cls, repo: str | None) -> str | None:
        if repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
            raise ValueError("repo is OWNER/NAME, such as acme/support-agent")
        return repo

    @field_validator("endpoint")
    @classmethod
    def _is_an_api(cls, endpoint: str) -> str:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint must begin with http:// or https://")
        return endpoint

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        return url
