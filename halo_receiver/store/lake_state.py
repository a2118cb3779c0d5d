"""What the hosts of a lake agree on, in tables of the catalog's PostgreSQL: receivers, leases, what is published.

DuckLake has no unique constraints, so that exactly once is decided here. A publication is one attempt with a number of
its own, which stands in each of its rows in the lake. It counts once its row here is `done`, and a segment belongs to
one publication at most (primary key). Rows of attempts that never came to that are read by nobody, and are removed by
`halo lake merge`. `visible_at`, from the one clock of the catalog, is when a publication began to count: windows of the
lake are cut on it, so that what a host publishes late lies in the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from halo_receiver.config import LakeConfig
from halo_receiver.errors import ConfigError, LakeUnavailable, StoreError
from halo_receiver.store.lake_tables import TABLES

VERSION = 2  # of these tables, and of the tables of the lake
CONNECT_SECONDS = 10
# A host that vanished without a word is noticed within half a minute; libpq's names and units.
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
RENEWALS = 3  # of a lease, within its time
VISIBLE_LOCK = 0x68616C6F  # an advisory lock: exclusive while a publication becomes visible, shared while readers look
_NS = "(extract(epoch FROM {}) * 1000000000)::bigint"


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication that counts. `visible_ns`: since when, in unix nanoseconds of the catalog's clock."""

    id: int
    visible_ns: int
    spans: int
    logs: int


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """How far one receiver has published. Times are unix nanoseconds; `published_until_ns` is of arrival there."""

    id: str
    host: str
    data_dir: str
    seen_ns: int
    published_until_ns: int


class LakeState:
    """One connection to these tables. Raises LakeUnavailable where PostgreSQL does not answer, StoreError else."""

    def __init__(self, catalog: str) -> None:
        psycopg = _driver()
        self._error: type[Exception] = psycopg.Error
        self._unavailable: tuple[type[Exception], ...] = (
            psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.IdleInTransactionSessionTimeout,
        )  # fmt: skip
        words = {"connect_timeout": CONNECT_SECONDS, **ALIVE, **_parsed(catalog)}
        with self._faults():
            self._connection = psycopg.connect(**words, autocommit=True)

    @classmethod
    def open(cls, config: LakeConfig) -> Self:
        """Connect to the lake's tables, and compare their version and data. Raises ConfigError where there are none.

        PostgreSQL ends a transaction in which this process does nothing for the time of a lease: one that was stopped
        in it would keep its locks from everybody.
        """
        state = cls(config.catalog_words() or "")
        idle = str(max(1000, int(config.lease_seconds * 1000)))
        try:
            state._rows("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", idle)
            state.check(config.data)
        except BaseException:
            state.close()
            raise
        return state

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except self._unavailable as error:
            raise LakeUnavailable(
                f"the lake's catalog does not answer: {_line(error)}", hint="see [lake] catalog"
            ) from None
        except self._error as error:
            raise StoreError(f"the lake's catalog refuses: {_line(error)}") from None

    def _rows(self, sql: str, *given: Any) -> list[tuple[Any, ...]]:
        with self._faults():
            cursor = self._connection.execute(sql, given or None)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._faults(), self._connection.transaction():
            yield

    def create(self, data: str, buckets: int = 0) -> None:
        """Make the tables that are missing. Raises ConfigError where they belong to a lake with other data."""
        with self._transaction():
            self._rows("SELECT pg_advisory_xact_lock(%s)", VISIBLE_LOCK)
            with self._faults():
                self._connection.execute(TABLES)
            if not self._rows("SELECT 1 FROM halo.lake"):
                self._rows("INSERT INTO halo.lake VALUES (%s, %s, %s)", VERSION, data, buckets)
        self.check(data)

    def check(self, data: str) -> None:
        """Raise unless the tables are there, of this build's version, and of this data."""
        if self._rows("SELECT to_regclass('halo.lake')") == [(None,)]:
            raise ConfigError("the catalog holds no lake yet", hint="'halo lake init' makes it, once")
        [(version, known)] = self._rows("SELECT version, data FROM halo.lake")
        if version != VERSION:
            hint = (
                "upgrade halo everywhere"
                if version > VERSION
                else "make a new one, in another catalog, by 'halo lake init'"
            )
            raise StoreError(f"the lake has version {version}, this build reads {VERSION}", hint=hint)
        if known != data:
            raise ConfigError(
                f"the lake of this catalog keeps its data in {known}, not in {data}", hint="set [lake] data"
            )

    def buckets(self) -> int:
        """Return by how many buckets of traces the lake's files are split since it was made; 0: they are not."""
        return int(self._rows("SELECT buckets FROM halo.lake")[0][0])

    def now_ns(self) -> int:
        """Return the time of the catalog's clock."""
        return int(self._rows(f"SELECT {_NS.format('clock_timestamp()')}")[0][0])

    def messages_language(self) -> str:
        """Return in which language PostgreSQL speaks: DuckLake knows conflicts by their English words."""
        return str(self._rows("SELECT current_setting('lc_messages')")[0][0])

    def lease(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or renew a lease; return its epoch, or None while another holds it. Each holder has an epoch."""
        found = self._rows(
            "INSERT INTO halo.leases AS l VALUES (%s, %s, 1, clock_timestamp() + %s * interval '1 second') "
            "ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at, holder = excluded.holder, "
            "epoch = l.epoch + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END "
            "WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp() RETURNING epoch",
            name, holder, seconds,
        )  # fmt: skip
        return int(found[0][0]) if found else None

    def release(self, name: str, holder: str) -> None:
        """Let the next holder in at once."""
        self._rows("UPDATE halo.leases SET expires_at = '-infinity' WHERE name = %s AND holder = %s", name, holder)

    def leases(self) -> list[tuple[str, str, int]]:
        """Return who holds what: name, holder, epoch."""
        return [
            (str(name), str(holder), int(epoch))
            for name, holder, epoch in self._rows(
                "SELECT name, holder, epoch FROM halo.leases WHERE expires_at > clock_timestamp() ORDER BY name"
            )
        ]

    def claim(self, receiver: str, epoch: int, segments: Sequence[str]) -> int:
        """Begin a publication of some segments; return its number."""
        sql = "INSERT INTO halo.publications (receiver, epoch, segments) VALUES (%s, %s, %s) RETURNING id"
        return int(self._rows(sql, receiver, epoch, list(segments))[0][0])

    def unfinished(self, receiver: str) -> list[tuple[int, list[str]]]:
        """Return the publications that were begun and came to no end: number and segments."""
        sql = "SELECT id, segments FROM halo.publications WHERE receiver = %s AND state = 'claimed' ORDER BY id"
        return [(int(number), list(segments)) for number, segments in self._rows(sql, receiver)]

    def void(self, publication: int) -> None:
        """Give up a publication: whatever of it comes into the lake yet does not count."""
        self._rows("UPDATE halo.publications SET state = 'void' WHERE id = %s AND state = 'claimed'", publication)

    def finish(self, publication: int, lease: str, epoch: int, *, spans: int, logs: int) -> bool:
        """Let a publication count, from now on, for ever. False, and it does not, where the lease has gone to another.

        The one place where rows of the lake become visible.
        """
        with self._transaction():
            self._rows("SELECT pg_advisory_xact_lock(%s)", VISIBLE_LOCK)
            held = self._rows("SELECT 1 FROM halo.leases WHERE name = %s AND epoch = %s FOR UPDATE", lease, epoch)
            if not held:
                return False
            done = self._rows(
                "UPDATE halo.publications SET state = 'done', visible_at = clock_timestamp(), spans = %s, logs = %s "
                "WHERE id = %s AND state = 'claimed' AND NOT EXISTS (SELECT 1 FROM halo.published p "
                "WHERE p.receiver = publications.receiver AND p.segment = ANY (publications.segments)) "
                "RETURNING receiver, segments",
                spans, logs, publication,
            )  # fmt: skip
            for receiver, segments in done:
                sql = "INSERT INTO halo.published SELECT %s, unnest(%s::text[]), %s"
                self._rows(sql, receiver, segments, publication)
        return bool(done)

    def published(self, receiver: str) -> set[str]:
        """Return the names of the segments of a receiver that are published."""
        return {str(row[0]) for row in self._rows("SELECT segment FROM halo.published WHERE receiver = %s", receiver)}

    def seen(self, receiver: str, *, host: str, data_dir: str, published_until_ns: int) -> None:
        """Note how far a receiver has published."""
        self._rows(
            "INSERT INTO halo.receivers AS r VALUES (%s, %s, %s, clock_timestamp(), %s) ON CONFLICT (id) DO UPDATE SET "
            "host = excluded.host, data_dir = excluded.data_dir, seen_at = excluded.seen_at, "
            "published_until_ns = greatest(r.published_until_ns, excluded.published_until_ns)",
            receiver, host, data_dir, published_until_ns,
        )  # fmt: skip

    def receivers(self) -> list[ReceiverState]:
        """Return all that published and are not expired, by host and directory."""
        sql = f"SELECT id, host, data_dir, {_NS.format('seen_at')}, published_until_ns "
        sql += "FROM halo.receivers ORDER BY 2, 3, 1"
        return [ReceiverState(str(a), str(b), str(c), int(d), int(e)) for a, b, c, d, e in self._rows(sql)]

    def visible(self, start_ns: int | None = None, end_ns: int | None = None) -> list[Publication]:
        """Return the publications that began to count in `[start_ns, end_ns)`: all of them, now and ever after.

        What counts before this call's moment is there: whoever makes a publication visible holds the lock meanwhile.
        """
        with self._transaction():
            self._rows("SELECT pg_advisory_xact_lock_shared(%s)", VISIBLE_LOCK)
            rows = self._rows(
                f"SELECT * FROM (SELECT id, {_NS.format('visible_at')} AS ns, spans, logs FROM halo.publications "
                "WHERE state = 'done') p WHERE ns >= %s AND ns < %s ORDER BY id",
                start_ns if start_ns is not None else -(2**62), end_ns if end_ns is not None else 2**62,
            )  # fmt: skip
        return [Publication(*map(int, row)) for row in rows]

    def abandoned(self, seconds: float) -> list[int]:
        """Return the publications that count for nothing, begun longer ago than that."""
        sql = (
            "SELECT id FROM halo.publications WHERE state IN ('claimed', 'void', 'expired') "
            "AND claimed_at < clock_timestamp() - %s * interval '1 second' ORDER BY id"
        )
        return [int(row[0]) for row in self._rows(sql, seconds)]

    def expire(self, before_ns: int) -> list[int]:
        """Let publications that became visible before a time count no more; return their numbers.

        Receivers that were last seen before it are forgotten, until they publish again.
        """
        sql = (
            "UPDATE halo.publications SET state = 'expired' WHERE state = 'done' "
            f"AND {_NS.format('visible_at')} < %s RETURNING id"
        )
        self._rows(f"DELETE FROM halo.receivers WHERE {_NS.format('seen_at')} < %s", before_ns)
        return sorted(int(row[0]) for row in self._rows(sql, before_ns))

    def forget(self, publications: Sequence[int]) -> None:
        """Drop publications of which the lake holds no row any more. Which segments were published stays known."""
        self._rows(
            "DELETE FROM halo.publications WHERE id = ANY (%s) AND state IN ('void', 'expired')", list(publications)
        )

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _driver() -> Any:
    """libpq's own parser and client: the same words as DuckDB's, which is given them too, mean the same to both."""
    try:
        import psycopg
    except ImportError:
        raise ConfigError(
            "the lake needs psycopg, which is not installed", hint="pip install 'halo-otel[lake]'"
        ) from None
    return psycopg


def _parsed(catalog: str) -> dict[str, Any]:
    psycopg = _driver()
    try:
        return dict(psycopg.conninfo.conninfo_to_dict(catalog))
    except psycopg.Error:  # its words may repeat a password
        raise ConfigError(
            "[lake] catalog is not in libpq's words", hint="write 'host=pg dbname=halo user=halo', or postgresql://…"
        ) from None


def libpq_words(catalog: str) -> str:
    """Return the catalog as words, also where it was written as an address. Raises ConfigError."""
    return str(_driver().conninfo.make_conninfo(**_parsed(catalog)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
