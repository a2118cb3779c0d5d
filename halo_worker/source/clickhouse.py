"""ClickHouse: the table `otel_traces` of the OpenTelemetry Collector's exporter, over ClickHouse's HTTP interface.

    clickhouse://user@host:8443/database?table=otel_traces

There is no time of arrival in the table: a window is the traces that ended in it, whole. Only SELECT is sent, and no
setting is changed, so that a user with `readonly = 1` may read.

Source: exporter/clickhouseexporter/internal/sqltemplates of opentelemetry-collector-contrib, traces with Map and with
JSON attributes; ClickHouse documentation, HTTP interface and JSONCompactEachRow.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import orjson

from halo_receiver.decode.json_text import value_of
from halo_receiver.decode.repair import Undecodable
from halo_worker.display import masked_url, one_line
from halo_worker.errors import ConfigError, HaloError, InputError
from halo_worker.source.otlp_encoding import Request
from halo_worker.source.remote import StoreUnavailable
from halo_worker.source.row_binary import ATTRIBUTES, COLUMNS, INTEGER, NO_END, Requests
from halo_worker.window import Window

SCHEME = "clickhouse://"
TABLE = "otel_traces"
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 300.0
Part = tuple[int, int]  # its number, from 0, and of how many it is
WHOLE: Part = (0, 1)
_NAME = re.compile(r"[\w.-]+", re.ASCII)
_NATIVE_PORTS = (9000, 9440)
_REQUIRED = ("Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ResourceAttributes",
             "SpanAttributes", "Duration", "StatusCode")  # fmt: skip
_FAULTS = {
    "516": "check the user, and its password in CLICKHOUSE_PASSWORD", "497": "the user may not read this table",
    "60": "name the table: clickhouse://…/DATABASE?table=NAME", "81": "name the database: clickhouse://…/DATABASE",
    "241": "ClickHouse ran out of memory: take a shorter window",
    "159": "ClickHouse's time limit: take a shorter window",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where the table is."""

    url: str  # of the HTTP interface
    user: str
    password: str
    database: str
    table: str

    @property
    def shown(self) -> str:
        """Name the table for people, without the password."""
        return f"{self.database}.{self.table} at {urlsplit(self.url).netloc}"


def without_password(text: str) -> str:
    """Return an address without the password that it may hold."""
    user, at, place = urlsplit(text).netloc.rpartition("@")
    return urlsplit(text)._replace(netloc=f"{user.partition(':')[0]}{at}{place}").geturl()


def is_address(text: str) -> bool:
    """Say whether a text names a ClickHouse."""
    return text.startswith(SCHEME)


def address(text: str, password: str = "") -> Address:
    """Read clickhouse://user[:password]@host[:port]/database[?table=…&secure=0|1]. Raises ConfigError.

    HTTPS but for port 8123 and on the machine itself; `secure` says otherwise.
    """
    form = "write clickhouse://user@host:8443/database"
    try:
        parts = urlsplit(text)
        host, port, options = parts.hostname or "", parts.port, parse_qs(parts.query)
    except ValueError as error:
        raise ConfigError(f"this is no address of ClickHouse: {error}", hint=form) from None
    if not host or parts.scheme != "clickhouse":
        raise ConfigError(f"{masked_url(text)!r} is no address of ClickHouse", hint=form)
    if unknown := set(options) - {"table", "secure"}:
        raise ConfigError(f"'{min(unknown)}' is no option of the address: there are table and secure", hint=form)
    if port in _NATIVE_PORTS:
        raise ConfigError(
            f"port {port} of {host} is ClickHouse's native protocol", hint="name the HTTP port, 8443 or 8123"
        )
    plain = port == 8123 or host in ("localhost", "127.0.0.1", "::1")
    secure = options["secure"][0] not in ("0", "false") if "secure" in options else not plain
    database, table = parts.path.strip("/") or "default", options.get("table", [TABLE])[0]
    for name in (database, table):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name of a database or table", hint=form)
    netloc = f"[{host}]" if ":" in host else host
    return Address(
        f"{'https' if secure else 'http'}://{netloc}:{port or (8443 if secure else 8123)}/",
        unquote(parts.username or "default"), unquote(parts.password or "") or password, database, table,
    )  # fmt: skip


class ClickHouse:
    """Asks one table. Every error is one line: what, which table, what to do."""

    def __init__(self, where: Address) -> None:
        self._where = where
        headers = {"X-ClickHouse-User": where.user}
        if where.password:
            headers["X-ClickHouse-Key"] = where.password
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(base_url=where.url, headers=headers, timeout=timeout)

    def __enter__(self) -> ClickHouse:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def rows(self, sql: str, **parameters: int) -> Iterator[Any]:
        """Yield the rows of a statement, each a list, as they come."""
        for line in _lines(self._answer(f"{sql} FORMAT JSONCompactEachRow", parameters)):
            yield self._row(line)

    def _answer(self, sql: str, parameters: Mapping[str, int]) -> Iterator[bytes]:
        """Yield the body of the answer to a statement as it comes."""
        query = {"database": self._where.database} | {f"param_{name}": value for name, value in parameters.items()}
        try:
            with self._client.stream("POST", "/", params=query, content=sql) as answer:
                if answer.status_code != 200:
                    raise self._fault(answer.read(), answer.status_code)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                f"ClickHouse ({self._where.shown}) cannot be read: {one_line(str(error)) or type(error).__name__}",
                hint="check host and port: it is the HTTP interface, 8443 or 8123",
            ) from None

    def _row(self, line: bytes) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            if not line.startswith(b"["):  # what went wrong after rows had been sent
                raise self._fault(line, 200) from None
        try:
            return value_of(line)
        except Undecodable:
            raise self._fault(line[-300:], 200) from None

    def _fault(self, body: bytes, status: int) -> InputError | ConfigError:
        said = one_line(body.decode("utf-8", "replace"), 300)
        code = next(iter(re.findall(r"Code: (\d+)", said)), "516" if status in (401, 403) else "")
        kind = ConfigError if code in ("516", "497") else InputError
        return kind(
            f"ClickHouse ({self._where.shown}) refused: {said or status}",
            hint=_FAULTS.get(code, "check the address and the window"),
        )

    def count(self, window: Window, *, max_rows: int, margin_ns: int, part: Part = WHOLE) -> int:
        """Return how many spans `window` yields. Raises InputError as it does."""
        _ = self._columns  # another table is told before its rows are asked for
        [[count]] = self.rows(f"SELECT count() {_filter(self._where, part)}", **_times(window, margin_ns))
        if int(count) > max_rows:
            raise InputError(
                f"ClickHouse ({self._where.shown}) holds {int(count):,} spans of this window, max_rows is {max_rows:,}",
                hint="take a shorter window, or raise max_rows of [sources.NAME]",
            )
        return int(count)

    def window(
        self, window: Window, *, max_rows: int, margin_ns: int, part: Part = WHOLE, count: int | None = None
    ) -> Iterator[Request]:
        """Yield the spans of the traces that ended in the window as requests, whole within `margin_ns` around it.

        `part`: of the traces of a hash part alone; `count`: of its spans, where they are counted. Raises InputError
        when the table is another one, and when there are more than `max_rows`.
        """
        columns = self._columns
        if count is None:
            count = self.count(window, max_rows=max_rows, margin_ns=margin_ns, part=part)
        kinds = {name: kind for name, kind in columns.items() if COLUMNS.get(name, "").count(ATTRIBUTES)}
        nested = not all("Map(" in kind for kind in kinds.values())
        selected = ", ".join(_expression(name, columns, nested=nested) for name in COLUMNS)
        select = f"SELECT {selected} {_filter(self._where, part)} FORMAT RowBinary"
        chunks = self._answer(select, _times(window, margin_ns))
        requests = Requests(chunks, nested=nested, all_text=columns["SpanAttributes"].startswith("Map("))
        try:
            yield from requests
        except ValueError:
            raise self._cut(requests, count) from None
        if requests.rest or requests.rows < count:
            raise self._cut(requests, count)

    def _cut(self, requests: Requests, count: int) -> HaloError:
        said = requests.tail.rfind(b"Code: ")
        if said >= 0 and b"DB::" in requests.tail[said:]:
            return self._fault(requests.tail[said:], 200)
        return StoreUnavailable(
            f"ClickHouse ({self._where.shown}) sent {requests.rows:,} of {count:,} spans", hint="run it again"
        )

    @functools.cached_property
    def _columns(self) -> dict[str, str]:
        where = self._where
        columns = {row[0]: str(row[1]) for row in self.rows(f"DESCRIBE TABLE `{where.database}`.`{where.table}`")}
        missing = [name for name in _REQUIRED if name not in columns]
        other = [
            name
            for name in ("SpanAttributes", "ResourceAttributes")
            if name in columns and not _is_known(columns[name])
        ]
        if missing or other:
            lacks = f"has no column {', '.join(missing)}" if missing else f"keeps {other[0]} as {columns[other[0]]}"
            raise InputError(
                f"ClickHouse ({where.shown}): the table {lacks}",
                hint="the Collector's clickhouseexporter makes the table that is read here; ?table=NAME names another",
            )
        return columns


def _is_known(kind: str) -> bool:
    return kind.startswith(("Map(", "JSON", "Object('json')"))


def _times(window: Window, margin_ns: int) -> dict[str, int]:
    """Return the parameters of `_filter`."""
    return {
        "a": window.start_ns, "b": window.end_ns, "c": window.start_ns - margin_ns, "d": window.end_ns + margin_ns,
    }  # fmt: skip


def _filter(where: Address, part: Part) -> str:
    """Return FROM and WHERE: traces by their end, with a look back and ahead for those that are longer.

    A part is of their ids alone, so that each trace is whole in one.
    """
    number, of = part
    mine = f"AND cityHash64(TraceId) % {of} = {number} " if of > 1 else ""
    table = f"`{where.database}`.`{where.table}`"
    ended = f"toUnixTimestamp64Nano(Timestamp) + if(Duration < {NO_END}, toInt64(Duration), 0)"
    return (
        f"FROM {table} WHERE Timestamp >= fromUnixTimestamp64Nano({{c:Int64}}) "
        f"AND Timestamp < fromUnixTimestamp64Nano({{b:Int64}}) {mine}AND TraceId IN ("
        f"SELECT TraceId FROM {table} WHERE Timestamp >= fromUnixTimestamp64Nano({{c:Int64}}) "
        f"AND Timestamp < fromUnixTimestamp64Nano({{d:Int64}}) {mine}GROUP BY TraceId "
        f"HAVING max({ended}) >= {{a:Int64}} AND max({ended}) < {{b:Int64}})"
    )


def _expression(name: str, columns: dict[str, str], *, nested: bool) -> str:
    """Return what is selected of a column, of the type that `row_binary` reads; nothing where there is none."""
    kind, listed = COLUMNS[name].removeprefix("Array(").rstrip(")"), COLUMNS[name].startswith("Array(")
    if name not in columns:
        return f"CAST([] AS Array({_type(kind, nested)}))" if listed else "''"
    if kind == INTEGER or (kind == ATTRIBUTES and nested):
        how = "toUnixTimestamp64Nano" if kind == INTEGER else "toJSONString"
        return f"arrayMap(x -> {how}(x), `{name}`)" if listed else f"{how}(`{name}`)"
    return f"CAST(`{name}` AS {f'Array({_type(kind, nested)})' if listed else _type(kind, nested)})"


def _type(kind: str, nested: bool) -> str:
    return kind if kind != ATTRIBUTES else "String" if nested else "Map(String, String)"


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split a body at line ends alone."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line)
    if rest:
        yield rest
