"""Another store's HTTP API: where it is, its keys, and requests that wait as they are told to."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx

from halo_worker.display import masked_url, one_line
from halo_worker.errors import ConfigError, HaloError, InputError

TIMEOUT_SECONDS = 60.0
ATTEMPTS = 6  # of one request, for faults that may pass
MAX_WAIT_SECONDS = 120.0  # of what a server asks to wait; longer, and the pull ends, to be gone on with
MAX_ANSWER_BYTES = 512 * 2**20
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class NotFound(InputError):  # noqa: N818 - reads as the sentence it is raised for
    """The API has no such path, or the store no such thing."""


class StoreUnavailable(HaloError):  # noqa: N818
    """A fault that may pass did not. What was pulled is kept, and the same command goes on from there."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records as the API gives them, and where to go on after them; None after the last."""

    items: list[dict[str, Any]]
    cursor: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of store: its name, and the variables that hold its keys, address and project."""

    name: str
    keys: tuple[str, ...]
    urls: tuple[str, ...]
    default_url: str
    headers: Callable[[list[str]], dict[str, str]]
    needs_keys: bool = True
    project_variable: str | None = None

    def url(self, environment: Mapping[str, str]) -> str:
        """Return its address."""
        return next((environment[name] for name in self.urls if environment.get(name)), self.default_url)

    def project(self, environment: Mapping[str, str]) -> str:
        """Return the project: empty where the keys decide it."""
        return environment.get(self.project_variable or "") or ("default" if self.project_variable else "")


class Source(Protocol):
    """A module of this package that reads one kind of store."""

    PLACE: Place

    def pages(
        self, api: Api, since_ns: int, until_ns: int, project: str, cursor: Mapping[str, Any] | None
    ) -> Iterator[Page]: ...


def iso(nanoseconds: int) -> str:
    """Write a time as ISO-8601 with milliseconds and Z."""
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def base64_of(text: str) -> str:
    """Encode a text as base64."""
    return base64.b64encode(text.encode()).decode()


class Api:
    """Asks one store. `wait` sleeps; it is told the seconds and why."""

    def __init__(
        self, place: Place, url: str, environment: Mapping[str, str], *, wait: Callable[[float, str], None]
    ) -> None:
        keys = [environment.get(name) or "" for name in place.keys]
        missing = [name for name, key in zip(place.keys, keys, strict=True) if not key]
        if missing and place.needs_keys:
            raise ConfigError(f"{place.name} needs {' and '.join(missing)}", hint="set them in the environment")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no address of {place.name}", hint=f"such as {place.default_url}")
        self._place = place
        self._where = f"{place.name} at {masked_url(url)}"
        self._wait = wait
        self._answered = False
        self._client = httpx.Client(
            base_url=url.rstrip("/"), timeout=TIMEOUT_SECONDS, headers=place.headers(keys), follow_redirects=False
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, Any]) -> Any:
        """Return the JSON of an answer. Raises NotFound, ConfigError, InputError or StoreUnavailable."""
        return self._ask("GET", path, params={key: value for key, value in query.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask with a JSON body; otherwise as `get`."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                status, headers, body = self._answer(method, path, request)
            except httpx.TransportError as error:
                reason, asked = f"{self._where} cannot be reached: {one_line(str(error)) or type(error).__name__}", None
                if attempt and not self._answered:  # a wrong address, rather than a store that is away for a moment
                    raise StoreUnavailable(
                        reason, hint=f"is the address right? {self._address_from} names it"
                    ) from None
            else:
                self._answered = True
                if status < 300:
                    return self._json(body, path)
                if status not in _PASSING:
                    raise self._refusal(status, path, body)
                reason, asked = f"{self._where} answered {status}", _retry_after(headers)
            seconds = asked if asked is not None else min(2.0**attempt, MAX_WAIT_SECONDS)
            if attempt == ATTEMPTS - 1 or seconds > MAX_WAIT_SECONDS:
                until = f" and asks to wait {seconds:.0f} s" if asked is not None else f" {attempt + 1} times"
                raise StoreUnavailable(f"{reason}{until}", hint="the same command goes on where this one stopped")
            self._wait(seconds, reason)
        raise AssertionError("unreachable")

    def _answer(self, method: str, path: str, request: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        with self._client.stream(method, path, **request) as answer:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise InputError(f"{self._where} answered {path} with over {MAX_ANSWER_BYTES} bytes")
            return answer.status_code, answer.headers, bytes(body)

    def _json(self, body: bytes, path: str) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise InputError(
                f"{self._where} answered {path} with no JSON: {one_line(body[:80].decode('utf-8', 'replace'))!r}",
                hint=f"is this the address of the API? {self._address_from} names it",
            ) from None

    @property
    def _address_from(self) -> str:
        return " or ".join((*self._place.urls, "--url"))

    def _refusal(self, status: int, path: str, body: bytes) -> HaloError:
        said = one_line(body[:200].decode("utf-8", "replace"))
        if status in (401, 403):
            keys = " and ".join(self._place.keys)
            return ConfigError(f"{self._where} refused the keys ({status}): {said}", hint=f"check {keys}")
        if status == 404:
            return NotFound(
                f"{self._where} has no {path} (404): {said}",
                hint="check the address (--url) and the project (--project)",
            )
        return InputError(
            f"{self._where} refused {path} ({status}): {said}", hint="check --since, --until and --project"
        )


def _retry_after(headers: httpx.Headers) -> float | None:
    value = headers.get("retry-after") or headers.get("x-ratelimit-reset-after")
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
