"""Classifies the errors of one endpoint: retryable or not, and what it does not support (parameters, limits). Pure."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable, RequestChanged
from halo_worker.rlm.provider import error_body, output_limit, request_forms
from halo_worker.rlm.provider.error_body import ErrorBody

RETRY_AFTER_MOST = 600.0
UNREADABLE_STREAMS = 2  # in a row, after which nothing is streamed any more
TIMEOUT_SETTING = "[model] request_timeout_seconds"

_PROMPT_TOO_LONG = "context_length_exceeded"
_QUOTA = re.compile(
    r"insufficient.(quota|credit|fund|balance)|exceeded your current quota|billing.{0,6} limit|credit balance|"
    r"out of credits",
    re.IGNORECASE,
)
_TRY_AGAIN = re.compile(r"(?:retry|try again) in (\d+(?:\.\d+)?) ?(ms|s|m)\b", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FILTER = re.compile(r"content.?filter|content management policy|safety system", re.IGNORECASE)
_BY_STATUS = {401: "invalid_api_key", 402: "insufficient_quota", 403: "permission_denied", 404: "model_not_found",
              413: _PROMPT_TOO_LONG}  # fmt: skip
_ABOUT_THE_REQUEST = frozenset({400, 404, 413, 422, 500, 501})  # statuses of requests that are refused for their form
_UNEXPLAINED = frozenset({400, 422})  # of those, the ones that are refused for it alone
_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(slots=True)
class Endpoint:
    """What is known of one endpoint from its errors."""

    without: set[str] = field(default_factory=set)  # forms of a request that it refused, of request_forms
    context: int | None = None  # tokens of input and output together, once it has said so
    max_output_tokens: int | None = None  # configured, or what it said is the most
    unreadable_streams: int = 0  # in a row
    plain_next: bool = False  # whether the next request is not streamed, for the stream of the last could not be read
    _before_guess: int | None = None  # max_output_tokens before it was lowered without being told how far

    @property
    def streams(self) -> bool:
        """Whether the next request is streamed."""
        return "stream" not in self.without and not self.plain_next

    def read_stream(self) -> None:
        """Note that a stream could be read."""
        self.unreadable_streams = 0

    def could_not_read_stream(self, received: int) -> RequestChanged:
        """Note that a stream came to no end, or was none: the request is sent once more without streaming."""
        self.plain_next = True
        self.unreadable_streams += 1
        if self.unreadable_streams >= UNREADABLE_STREAMS:
            self.without.add("stream")
        return RequestChanged("the stream could not be read: asked again without streaming", received=received)

    def classify(
        self, error: Exception, body: dict[str, Any], *, timeout: float, estimate: int
    ) -> ModelUnavailable | ModelRefused:
        """Return an error as ModelUnavailable where a retry may succeed, else as ModelRefused.

        A refused form of a request is kept and answered by RequestChanged: the next request is without it.

        `timeout` in seconds; `estimate`: the tokens of the prompt.
        """
        if isinstance(error, TimeoutError) or type(error).__name__ == "APITimeoutError":
            return ModelUnavailable(f"no answer within {timeout:g} s ({TIMEOUT_SETTING})", received=0)
        told = getattr(error, "body", None)
        said = error_body.read(told)
        message = said.message or describe(error)
        status = getattr(error, "status_code", None)
        about = status or said.status
        wait = _retry_after(error, message)
        # Some report a limit per minute as an exceeded quota as well, but then with the time to wait.
        if (
            _QUOTA.search(said.words)
            and about in (None, 402, 403, 429)
            and (wait is None or said.code == "insufficient_quota")
        ):
            return ModelRefused(message, code="insufficient_quota", hint="the account has no credit left")
        refused = bool(told) and (about is None or about in _ABOUT_THE_REQUEST)
        if refused and (learned := self._about_the_request(said, body, about, estimate)) is not None:
            return learned
        if about is None or about in (408, 409, 425, 429) or about >= 500:
            if about is None and said.code in _PERMANENT:
                return ModelRefused(message, code=said.code)
            return ModelUnavailable(
                f"{about} {message}" if about else message, retry_after=wait, received=None if status else 0
            )
        code = said.code
        if about == 404 and not re.search("model", said.words, re.IGNORECASE):
            code = code or "not_found"
        return ModelRefused(
            f"{about} {message}",
            code=_BY_STATUS.get(about) or code or "invalid_request",
            hint=_HINTS.get(about, ""),
        )

    def _about_the_request(
        self, said: ErrorBody, body: dict[str, Any], status: int | None, estimate: int
    ) -> RequestChanged | ModelRefused | None:
        """What a refusal teaches. First less output is asked for, as far as the message says or else by half."""
        name = request_forms.refused(said, body)
        if (lowered := self._lower_output(said, body, estimate, guess=name is None)) is not None:
            return lowered
        if name is None and output_limit.is_about_context(said.words):
            self._forget_guess()
            return ModelRefused(said.message, code=_PROMPT_TOO_LONG)
        if status in (None, 400, 403, 422) and _FILTER.search(said.words):
            return ModelRefused(said.message, code="content_filter")
        if name is None and status in _UNEXPLAINED and request_forms.CALLS not in self.without:
            name = request_forms.CALLS if request_forms.has_calls(body) else None
        if name is None:
            return None
        self.without.add(name)
        return RequestChanged(f"the endpoint does not take {name}: asked again without it")

    def _lower_output(
        self, said: ErrorBody, body: dict[str, Any], estimate: int, *, guess: bool
    ) -> RequestChanged | None:
        asked = next((int(body[name]) for name in _OUTPUT_LIMITS if name in body), 0)
        limit = output_limit.read(said.words, asked) if asked else None
        if limit is not None and limit.context is not None:
            room = limit.context - (limit.prompt or estimate)
            if output_limit.MIN_OUTPUT_TOKENS <= room < asked:
                self.context = min(limit.context, estimate + room)  # as we count the prompt
                return RequestChanged(_LESS)
            if limit.prompt or room < output_limit.MIN_OUTPUT_TOKENS:
                return None  # the prompt alone is too long, or it says of what would fit that it does not
        elif limit is not None and limit.output is not None:
            self.max_output_tokens, self._before_guess = limit.output, None
            return RequestChanged(_LESS)
        guess = guess or asked in output_limit.numbers(said.words)
        if not guess or asked <= output_limit.MIN_OUTPUT_TOKENS or not output_limit.is_about_output(said.words, asked):
            return None
        if self._before_guess is None:
            self._before_guess = self.max_output_tokens or asked
        self.max_output_tokens = max(asked // 2, output_limit.MIN_OUTPUT_TOKENS)
        return RequestChanged(_LESS)

    def _forget_guess(self) -> None:
        """The prompt was too long: less output was asked for in vain."""
        if self._before_guess is not None:
            self.max_output_tokens, self._before_guess = self._before_guess, None


_LESS = "fewer output tokens are allowed than were asked for: asked for fewer"
_PERMANENT = frozenset({"invalid_api_key", "model_not_found", "invalid_request_error", "invalid_prompt"})


_HINTS = {
    401: "the key is not accepted: OPENAI_API_KEY, or [model] api_key",
    403: "the key may not use this model",
    404: "no such model, or no such path at this base URL: [model] name, base_url, api",
}


def describe(error: BaseException) -> str:
    """Return an error's text with its cause, for the library's is only 'Connection error.'"""
    cause = error.__cause__
    text = str(error) or type(error).__name__
    return f"{text} ({type(cause).__name__}: {cause})" if cause is not None else text


def _retry_after(error: BaseException, message: str) -> float | None:
    """The wait that a provider asks for, in seconds: by `retry-after-ms`, `retry-after` or in the text."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        if value := headers.get("retry-after-ms"):
            return min(max(float(value) / 1_000, 0.0), RETRY_AFTER_MOST)
        if not (value := headers.get("retry-after")):
            said = _TRY_AGAIN.search(message)
            return min(float(said[1]) * _UNITS[said[2].lower()], RETRY_AFTER_MOST) if said else None
        try:
            seconds = float(value)
        except ValueError:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), RETRY_AFTER_MOST)
    except (ValueError, TypeError, OverflowError):
        return None
