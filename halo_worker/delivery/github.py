"""GitHub issues: github.com, or an Enterprise server.

Sources: docs.github.com, REST API (version 2022-11-28): "Issues", "Issue comments", "Search", "Using pagination",
"Rate limits" and "Best practices" (Retry-After, else X-RateLimit-Reset, else a minute; a second between writes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.sink import retry_after
from halo_worker.delivery.tracker import Ticket
from halo_worker.display import one_line
from halo_worker.errors import ConfigError, SinkRefused, SinkUnavailable

LABEL = "halo"
VERSION = "2022-11-28"
PAGE = 100  # the most that GitHub gives at once
MAX_PAGES = 50
PAUSE_SECONDS = 1.0  # between two writes
LIMITED_SECONDS = 60.0  # where a limit was met and no header says for how long
SAID_CHARACTERS = 200
_BELONGS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
_PASSING = frozenset({408, 409, 425, 429})
_HINTS = {
    401: "the token is not valid or has expired: make one, set it in the environment, then 'halo deliver'",
    403: "the token lacks a right: give it 'Issues: read and write' for {repo}, then 'halo deliver'",
    404: "is the repository's name right? A token that may not see {repo} is answered so, too",
    410: "issues are switched off in {repo}: switch them on in its settings, then 'halo deliver'",
    422: "mend labels or assignee of the sink, then 'halo deliver'",
}


class GitHub:
    """The issues of one repository."""

    def __init__(self, config: SinkConfig, *, pause: Callable[[float], None] = time.sleep) -> None:
        assert config.repo is not None
        assert config.token is not None
        self._repo = config.repo
        self._base = config.endpoint.rstrip("/")
        self._labels = list(dict.fromkeys((LABEL, *config.labels)))
        self._assignees = [config.assignee] if config.assignee else []
        self._pause = pause
        self._written = False
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION, "User-Agent": "halo"}
        try:
            headers["Authorization"] = f"Bearer {config.token.get_secret_value().encode('ascii').decode().strip()}"
        except UnicodeEncodeError:
            raise ConfigError("the token of a github sink is not ASCII", hint="copy it again") from None
        self._client = httpx.Client(headers=headers, timeout=config.timeout_seconds, follow_redirects=True)

    def where(self) -> str:
        return f"GitHub {self._repo}"

    def probe(self) -> None:
        about = self._document(self._ask("GET", f"/repos/{self._repo}"), dict)
        if about.get("archived"):
            raise SinkRefused(f"{self.where()} is archived: nothing can be written", hint="name another repo")
        if about.get("has_issues") is False:
            raise SinkRefused(f"{self.where()} has no issues", hint=_HINTS[410].format(repo=self._repo))

    def labelled(self) -> Iterator[Ticket]:
        query = {"labels": LABEL, "state": "all", "sort": "created", "direction": "asc"}
        return (_ticket(item) for item in self._pages(self._issues, query) if "pull_request" not in item)

    def search(self, phrase: str) -> Iterator[Ticket]:
        query = {"q": f'"{phrase}" in:body is:issue repo:{self._repo}', "sort": "created", "order": "asc"}
        return (_ticket(item) for item in self._pages("/search/issues", query) if _is_ours(item))

    def create(self, title: str, body: str) -> Ticket:
        document = {"title": title, "body": body, "labels": self._labels, "assignees": self._assignees}
        return _ticket(self._document(self._ask("POST", self._issues, json=document), dict))

    def update(self, key: str, body: str, *, is_open: bool | None) -> None:
        document: dict[str, Any] = {"body": body}
        if is_open is not None:
            document |= {"state": "open" if is_open else "closed"}
            document |= {"state_reason": "reopened" if is_open else "completed"}
        self._ask("PATCH", f"{self._issues}/{key}", json=document)

    def comments(self, key: str, *, since_ns: int) -> Iterator[str]:
        since = datetime.fromtimestamp(since_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        pages = self._pages(f"{self._issues}/{key}/comments", {"since": since})
        return (str(item.get("body") or "") for item in pages)

    def comment(self, key: str, text: str) -> None:
        self._ask("POST", f"{self._issues}/{key}/comments", json={"body": text})

    @property
    def _issues(self) -> str:
        return f"/repos/{self._repo}/issues"

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Return the items of every page. The next one is where its header says, on this server alone."""
        answer = self._ask("GET", path, params={**query, "per_page": str(PAGE)})
        for number in range(1, MAX_PAGES + 1):
            document = self._document(answer, dict | list)
            yield from document.get("items", []) if isinstance(document, dict) else document
            target = answer.links.get("next", {}).get("url")
            if not target:
                return
            if not target.startswith(f"{self._base}/"):
                raise SinkRefused(f"{self.where()} names a next page on another server", hint="mend its endpoint")
            if number < MAX_PAGES:
                answer = self._ask("GET", target.removeprefix(self._base))
        raise SinkRefused(
            f"{self.where()} has more than {MAX_PAGES * PAGE:,} issues with the label '{LABEL}'",
            hint=f"take the label from old ones, or name a repo whose '{LABEL}' is for halo alone",
        )

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        if method != "GET":
            if self._written:
                self._pause(PAUSE_SECONDS)
            self._written = True
        try:
            answer = self._client.request(method, self._base + path, **options)
        except httpx.InvalidURL:
            raise SinkRefused(f"{self.where()} cannot be asked: its endpoint is no URL", hint="mend it") from None
        except httpx.HTTPError as error:
            raise SinkUnavailable(f"{self.where()} cannot be reached: {type(error).__name__}") from None
        self._check(answer)
        return answer

    def _document(self, answer: httpx.Response, form: Any) -> Any:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, form):
            raise SinkUnavailable(f"{self.where()} answered what cannot be read")
        return document

    def _check(self, answer: httpx.Response) -> None:
        """Raise for an answer that is not a success: to be retried or not is its class."""
        status, said = answer.status_code, _said(answer)
        if answer.is_success and "json" in answer.headers.get("content-type", ""):
            return
        if answer.is_success:
            raise SinkRefused(
                f"{self.where()} answered no JSON", hint="endpoint is that of the API, as https://HOST/api/v3"
            )
        text = f"{self.where()} answered {status}" + (f": {said}" if said else "")
        if (wait := _limited(answer, said)) is not None:
            raise SinkUnavailable(text, retry_after=wait)
        if status in _PASSING or status >= 500:
            raise SinkUnavailable(text, retry_after=retry_after(answer.headers))
        hint = _HINTS.get(status, "mend the sink's settings, then 'halo deliver'")
        raise SinkRefused(text, hint=hint.format(repo=self._repo))


def _limited(answer: httpx.Response, said: str) -> float | None:
    """Return the seconds to wait where a primary or a secondary rate limit was met; else None."""
    if answer.status_code not in (403, 429):
        return None
    if (wait := retry_after(answer.headers)) is not None:
        return wait
    if answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        return max(1.0, float(reset) - time.time()) if reset.isdecimal() else LIMITED_SECONDS
    return LIMITED_SECONDS if "rate limit" in said.lower() else None


def _said(answer: httpx.Response) -> str:
    """Return the words of an answer that is no success: its message, and the fields it does not take."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    if answer.is_success or not isinstance(document, dict):
        return ""
    errors = document.get("errors") if isinstance(document.get("errors"), list) else []
    fields = [f"{one.get('field')} {one.get('code')}" for one in errors or () if isinstance(one, dict)]
    return one_line("; ".join([str(document.get("message", "")), *fields]), SAID_CHARACTERS)


def _ticket(item: dict[str, Any]) -> Ticket:
    return Ticket(
        key=str(item.get("number")),
        body=str(item.get("body") or "").replace("\r\n", "\n"),
        is_open=item.get("state") == "open",
        declined=item.get("state_reason") in ("not_planned", "duplicate"),
    )


def _is_ours(item: dict[str, Any]) -> bool:
    """Whether an issue is of the project: a stranger may write our words into one, and cannot set its label."""
    is_bot = (item.get("user") or {}).get("type") == "Bot"
    return is_bot or item.get("author_association") in _BELONGS
