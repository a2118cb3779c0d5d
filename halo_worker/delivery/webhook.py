"""Any HTTP endpoint: the JSON report, or a template, signed as Standard Webhooks says.

Source: Standard Webhooks specification 1.0, headers webhook-id, webhook-timestamp, webhook-signature.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment
from standardwebhooks import Webhook

from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.sink import Parcel, check_answer, reach
from halo_worker.display import masked_url
from halo_worker.errors import ConfigError, SinkRefused, SinkUnavailable
from halo_worker.report.model import Engine, Report, ReportWindow

_SAMPLE = json.loads(
    Report(
        id="sample",
        window=ReportWindow(start=0, end=1),
        created_at=1,
        engine=Engine(mode="detectors"),
        summary="sample",
    ).to_json()
)


class WebhookSink:
    """Posts a report. A receiver that honours Idempotency-Key, or webhook-id, sees each report once."""

    def __init__(self, name: str, config: SinkConfig) -> None:
        assert config.url is not None
        self._url = config.url.get_secret_value()
        self._headers = config.headers
        self._timeout = config.timeout_seconds
        self._signer = None
        if config.secret is not None:
            try:
                self._signer = Webhook(config.secret.get_secret_value())
            except Exception:  # noqa: BLE001 - the library raises what its base64 does
                raise ConfigError(
                    f"[sinks.{name}] secret is not a Standard Webhooks secret", hint="it is 'whsec_' and base64"
                ) from None
        self._template = None
        if config.template is not None:
            try:
                environment = SandboxedEnvironment(autoescape=False, undefined=StrictUndefined)
                environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
                self._template = environment.from_string(config.template.read_text(encoding="utf-8"))
            except (OSError, TemplateError) as error:
                at = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
                raise ConfigError(
                    f"[sinks.{name}] template {config.template}{at}: {error}",
                    hint="it is a Jinja template of the body; 'report' is report.json, and '|json' writes JSON",
                ) from None
            self._try(name, config)

    def _try(self, name: str, config: SinkConfig) -> None:
        """Render the template once with a report as small as one can be: a name misspelt is said at the start."""
        assert self._template is not None
        try:
            self._template.render(report=_SAMPLE)
        except Exception as error:  # noqa: BLE001 - a template may do anything
            raise ConfigError(
                f"[sinks.{name}] template {config.template} fails: {error}",
                hint="'report' is report.json (proto/report.schema.json); lists in it may be empty",
            ) from None

    def where(self) -> str:
        return masked_url(self._url)

    def probe(self) -> None:
        reach(self._url, self.where())

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        body = self._body(parcel)
        # httpx.Headers: a header of the settings takes the place of ours, however its name is written.
        headers = httpx.Headers(
            {"Content-Type": "application/json", "User-Agent": "halo", "Idempotency-Key": parcel.key}
        )
        try:
            headers.update(self._headers)
        except UnicodeEncodeError:
            raise SinkRefused(f"a header of {self.where()} is not ASCII", hint="mend its headers") from None
        if self._signer is not None:
            now = datetime.now(UTC)
            headers["webhook-id"] = parcel.key
            headers["webhook-timestamp"] = str(int(now.timestamp()))
            headers["webhook-signature"] = self._signer.sign(parcel.key, now, body)
        try:
            answer = httpx.post(self._url, content=body.encode(), headers=headers, timeout=self._timeout)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            hint = "mend its url or headers, then 'halo deliver'"
            raise SinkRefused(f"{self.where()} cannot be asked: {type(error).__name__}", hint=hint) from None
        except httpx.HTTPError as error:
            raise SinkUnavailable(f"{self.where()} cannot be reached: {type(error).__name__}") from None
        check_answer(answer, self.where())
        return {"status": answer.status_code}

    def _body(self, parcel: Parcel) -> str:
        if self._template is None:
            return json.dumps(parcel.document, ensure_ascii=False)
        try:
            return self._template.render(report=parcel.document)
        except Exception as error:  # noqa: BLE001 - a template may do anything, and divide by zero
            raise SinkRefused(f"the template fails: {error}", hint="mend it, then 'halo deliver'") from None
