"""The part of GitHub's REST API that issues are kept by, on loopback, as its documentation has it (2022-11-28)."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

TOKEN = "ghp_" + "x" * 36
Answer = tuple[int, dict[str, str], Any]


class GitHubServer:
    """One repository, acme/agents. `faults` are answered first, to requests whose 'METHOD path' begins so."""

    def __init__(self) -> None:
        self.issues: list[dict[str, Any]] = []
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.faults: list[tuple[str, Answer]] = []
        self.about: dict[str, Any] = {"has_issues": True, "archived": False}
        self.page = 100  # items of a page at most
        self.indexed = True  # whether the search knows what was written: it lags behind
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                key = self.headers["Authorization"]
                status, headers, document = server.handle(self.command, url.path, query, json.loads(body or b"{}"), key)
                text = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wrote(self) -> list[str]:
        """The requests that changed something."""
        return [one for one in self.asked if not one.startswith("GET")]

    def add(self, **changes: Any) -> dict[str, Any]:
        """An issue that somebody wrote."""
        made = {
            "number": len(self.issues) + 1, "title": "", "body": "", "state": "open", "state_reason": None,
            "labels": [], "assignees": [], "user": {"login": "halo", "type": "User"}, "author_association": "MEMBER",
        } | changes  # fmt: skip
        self.issues.append(made)
        return made

    def handle(self, method: str, path: str, query: dict[str, str], body: Any, key: str | None) -> Answer:
        self.asked.append(f"{method} {path}")
        for number, (what, answer) in enumerate(self.faults):
            if f"{method} {path}".startswith(what):
                del self.faults[number]
                return answer
        if key != f"Bearer {TOKEN}":
            return 401, {}, {"message": "Bad credentials", "status": "401"}
        if method == "GET" and path == "/search/issues":
            return self._search(query)
        found = re.fullmatch(r"/repos/acme/agents(/issues(?:/(\d+)(/comments)?)?)?", path)
        if found is None:
            return 404, {}, {"message": "Not Found", "status": "404"}
        if found[1] is None:
            return 200, {}, self.about
        if found[2] is None:
            return self._create(body) if method == "POST" else self._list(path, query)
        number = int(found[2])
        if found[3]:
            return self._comments(number, method, path, query, body)
        issue = self.issues[number - 1]
        issue |= {name: body[name] for name in ("title", "body", "state", "state_reason") if name in body}
        return 200, {}, issue

    def _create(self, body: dict[str, Any]) -> Answer:
        labels = [{"name": name} for name in body.get("labels", [])]
        assignees = [{"login": name} for name in body.get("assignees", [])]
        return 201, {}, self.add(title=body["title"], body=body["body"], labels=labels, assignees=assignees)

    def _list(self, path: str, query: dict[str, str]) -> Answer:
        wanted = set(query.get("labels", "").split(",")) - {""}
        state = query.get("state", "open")
        found = [
            one
            for one in self.issues
            if wanted <= {label["name"] for label in one["labels"]} and state in ("all", one["state"])
        ]
        return self._paged(found, path, query)

    def _comments(self, number: int, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        kept = self.comments.setdefault(number, [])
        if method == "GET":
            return self._paged(kept, path, query)
        kept.append({"id": len(kept), "body": body["body"]})
        return 201, {}, kept[-1]

    def _search(self, query: dict[str, str]) -> Answer:
        phrase = re.search(r'"(.*)"', query["q"])
        assert phrase is not None
        assert {"is:issue", "repo:acme/agents", "in:body"} <= set(query["q"].split())
        found = [one for one in self.issues if phrase[1] in one["body"]] if self.indexed else []
        status, headers, items = self._paged(found, "/search/issues", query)
        return status, headers, {"total_count": len(found), "incomplete_results": False, "items": items}

    def _paged(self, items: list[Any], path: str, query: dict[str, str]) -> Answer:
        size, number = min(self.page, int(query.get("per_page", 30))), int(query.get("page", 1))
        if number * size >= len(items):
            return 200, {}, items[(number - 1) * size :]
        target = f"{self.url}{path}?{urlencode({**query, 'page': number + 1})}"
        return 200, {"Link": f'<{target}>; rel="next"'}, items[(number - 1) * size : number * size]
