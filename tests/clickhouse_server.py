"""ClickHouse's engine behind its HTTP interface. Prints its port, and serves until it is killed.

    PYTHON tests/clickhouse_server.py

PYTHON has chdb: an environment of its own, so that nothing of halo is imported here.
"""

from __future__ import annotations

import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb import session

SESSION = session.Session()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        sql = self.rfile.read(int(self.headers["content-length"])).decode()
        sql = re.sub(r"\{(\w+):Int64\}", lambda found: f"toInt64({query['param_' + found[1]]})", sql)
        status, body = 200, b""
        try:
            statement, _, form = sql.partition(" FORMAT ") if not sql.startswith("INSERT") else (sql, "", "")
            body = SESSION.query(statement, form or "CSV").bytes()
        except Exception as error:  # noqa: BLE001 - as a server: said, whatever it is
            status, body = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
