"""Slack: an incoming webhook, or a bot that posts the message and answers it with the details."""

from __future__ import annotations

from typing import Any, NoReturn

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.sink import Parcel, reach, retry_after
from halo_worker.display import masked_url
from halo_worker.errors import SinkRefused, SinkUnavailable
from halo_worker.report import slack
from halo_worker.report.page_data import read_scene
from halo_worker.report.rows import told

# Slack's own words for what may pass.
_PASSING = {"ratelimited", "rate_limited", "fatal_error", "internal_error", "service_unavailable", "request_timeout"}
_HINTS = {
    "invalid_auth": "the token is not valid: install the app again and take its bot token",
    "token_revoked": "the token was revoked: install the app again and take its bot token",
    "not_in_channel": "invite the bot: /invite @NAME in the channel, then 'halo deliver'",
    "channel_not_found": "name the channel by its id, or invite the bot into it, then 'halo deliver'",
    "missing_scope": "give the app the scope chat:write, install it again, then 'halo deliver'",
    "no_service": "the incoming webhook was removed: make one, set its url, then 'halo deliver'",
}
API_URL = "https://slack.com/api/"


class SlackSink:
    """Posts a report to a channel."""

    def __init__(self, config: SinkConfig, *, api_url: str = API_URL) -> None:
        self._config = config
        self._api_url = api_url

    def where(self) -> str:
        if self._config.url is not None:
            return masked_url(self._config.url.get_secret_value())
        return f"Slack channel {self._config.channel}"

    def probe(self) -> None:
        """Reach the webhook's host, or ask Slack whose the token is: neither posts anything."""
        if self._config.url is not None:
            reach(self._config.url.get_secret_value(), self.where())
            return
        try:
            self._client().auth_test()
        except SlackApiError as error:
            self._tell(error)
        except (OSError, TimeoutError) as error:
            raise SinkUnavailable(f"Slack cannot be reached: {type(error).__name__}") from None

    def _client(self) -> WebClient:
        assert self._config.token is not None
        return WebClient(
            self._config.token.get_secret_value(), base_url=self._api_url,
            timeout=max(1, int(self._config.timeout_seconds)), retry_handlers=[],
        )  # fmt: skip

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        known = read_scene(parcel.folder).known_ids
        text, blocks = slack.message(parcel.report, links=parcel.links, known_ids=known)
        try:
            if self._config.url is not None:
                return self._post_webhook(text, blocks)
            return self._post_bot(parcel, text, blocks)
        except (OSError, TimeoutError) as error:
            raise SinkUnavailable(f"{self.where()} cannot be reached: {type(error).__name__}") from None

    def _post_webhook(self, text: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
        assert self._config.url is not None
        client = WebhookClient(
            self._config.url.get_secret_value(), timeout=max(1, int(self._config.timeout_seconds)), retry_handlers=[]
        )
        answer = client.send(text=text, blocks=blocks)
        if answer.status_code != 200:
            self._refuse(answer.status_code, answer.body, dict(answer.headers))
        return {"status": 200}

    def _post_bot(self, parcel: Parcel, text: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
        client = self._client()
        note = dict(parcel.receipt)
        try:
            if "ts" not in note:
                posted = client.chat_postMessage(channel=self._config.channel or "", text=text, blocks=blocks)
                note["ts"], note["channel"], note["replies"] = posted["ts"], posted["channel"], 0
            for reply, reply_blocks in _replies(parcel)[note["replies"] :]:
                client.chat_postMessage(channel=note["channel"], text=reply, blocks=reply_blocks, thread_ts=note["ts"])
                note["replies"] += 1
        except SlackApiError as error:
            parcel.receipt.update(note)  # the message is there: the next attempt goes on in its thread
            self._tell(error)
        return note

    def _tell(self, error: SlackApiError) -> NoReturn:
        """Raise what an answer of Slack's API means: to be retried or not is its class."""
        answer = error.response
        word = str(answer.get("error", "")) if isinstance(answer.data, dict) else ""
        if word in _PASSING:
            raise SinkUnavailable(f"Slack answered {word}", retry_after=retry_after(_lower(answer.headers)))
        self._refuse(answer.status_code, word, dict(answer.headers))

    def _refuse(self, status: int, said: str, headers: dict[str, Any]) -> NoReturn:
        if status in (408, 429) or status >= 500:
            raise SinkUnavailable(f"{self.where()} answered {status}", retry_after=retry_after(_lower(headers)))
        raise SinkRefused(
            f"{self.where()} answered {status}: {said[:200]}",
            hint=_HINTS.get(said, "mend the sink's settings, then 'halo deliver'"),
        )


def _replies(parcel: Parcel) -> list[tuple[str, list[dict[str, Any]]]]:
    current = [finding for finding in told(parcel.report.findings).findings if finding.state != "resolved"]
    last = slack.remainder(len(current))
    shown = (slack.detail(parcel.report, one, links=parcel.links) for one in current[: slack.MAX_THREAD])
    return [*shown, *([last] if last else [])]


def _lower(headers: Any) -> dict[str, str]:
    return {
        str(name).lower(): value[0] if isinstance(value, list) else str(value) for name, value in dict(headers).items()
    }
