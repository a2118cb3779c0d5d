"""Everything that runs in the receiver's process: started in order, watched, drained."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halo_receiver import backlog, spool, spool_files, spool_queue, wire
from halo_receiver.auth import Keys, Role
from halo_receiver.config import MIN_KEY_CHARACTERS, AuthConfig, LakeConfig, ReceiverConfig, StoreConfig
from halo_receiver.drain import ADDRESS_FILE
from halo_receiver.errors import DirectoryUnusable, HaloError
from halo_receiver.http_connections import connection_limit
from halo_receiver.http_server import HttpServer
from halo_receiver.intake import Intake
from halo_receiver.loader_client import LoaderClient, LoaderGone, loader_settings
from halo_receiver.logs import event
from halo_receiver.metrics import Metrics
from halo_receiver.read_limits import Reads
from halo_receiver.segments_service import LocalServer, SegmentsService
from halo_receiver.server import GrpcServer
from halo_receiver.tls import Tls

log = logging.getLogger("halo.receiver")

SEAL_SECONDS = 25.0
LOOK_SECONDS = 1.0


class Receiver:
    """Everything that runs in the receiver's process, in the order it is started."""

    def __init__(
        self, store: StoreConfig, config: ReceiverConfig, auth: AuthConfig, lake: LakeConfig, *, span_time: bool
    ) -> None:
        self._config = config
        self._auth = auth
        self._data_dir = store.data_dir.absolute()
        self._metrics = Metrics()
        self._token = secrets.token_urlsafe(24)
        self._keys = Keys.of(auth, config, local_token=self._token)
        self._loader = LoaderClient(
            loader_settings(store, config, lake, span_time=span_time), self._metrics, catalog=lake.catalog_words()
        )
        self._tls: Tls | None = None
        self._watching: asyncio.Task[None] | None = None
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None
        self._local: LocalServer | None = None
        self._addresses: dict[str, str | None] = {"grpc": None, "http": None, "local": None}

    async def start(self) -> None:
        """Recover what a crash left, then listen. Raises HaloError that says what is in the way."""
        if self._config.tls_cert_file is not None:
            self._tls = Tls(self._config, failed=self._metrics.tls_failures.inc)
        spool_dir = self._data_dir / "spool"
        await self._loader.start()
        last_arrival = spool_files.last_written_ns(spool_dir)
        try:
            writer = spool.SpoolWriter(spool_dir, after=self._loader.position.file)
        except OSError as error:
            raise _unusable(spool_dir, error) from None
        self._note_backlog(spool_dir, writer)
        self._ingest = spool_queue.Ingest(
            writer, clock=time.time_ns, on_synced=self._synced, last_arrival_ns=last_arrival
        )
        self._intake = Intake(
            self._config,
            sink=self._ingest,
            spool_dir=spool_dir,
            loaded=lambda: self._loader.position,
            metrics=self._metrics,
        )
        self._synced(writer.position)
        self._say_who_may()
        await self._listen()
        self._leave_address()
        gc.collect()
        gc.freeze()  # what stays for good is not looked through again while acknowledgements wait
        event(
            log, "receiver ready", grpc=self._addresses["grpc"], http=self._addresses["http"], data_dir=self._data_dir,
            decoder=wire.description(),
        )  # fmt: skip

    def _note_backlog(self, spool_dir: Path, writer: spool.SpoolWriter) -> None:
        """What an earlier start acknowledged may still wait."""
        waiting = spool_files.oldest_waiting_ns(spool_dir, self._loader.position)
        if waiting is not None:
            self._metrics.lag.synced(writer.position, age=max(0, time.time_ns() - waiting) / 1e9)
            event(log, "backlog found", bytes=spool_files.backlog(spool_dir, self._loader.position))

    def _synced(self, position: spool.Position) -> None:
        self._loader.synced = position
        self._metrics.lag.synced(position)

    async def _listen(self) -> None:
        config = self._config
        self._reads = Reads(
            budget=config.max_reading_bytes,
            largest=config.max_request_bytes,
            idle_seconds=config.idle_seconds,
            total_seconds=config.read_seconds,
            held=lambda: self._intake.held,
        )
        connections = connection_limit(config.max_connections)
        segments = SegmentsService(
            self._keys,
            directory=self._data_dir / "segments",
            seal=self._seal,
            report=lambda: (self._not_ready(), self._metrics.text()),
            tail=self._loader.tail.messages,
        )
        if config.grpc_endpoint != "off":
            self._grpc = GrpcServer(
                config, self._keys, self._intake, self._reads, segments, max_connections=connections, tls=self._tls
            )
            self._addresses["grpc"] = await _listening("grpc", config.grpc_endpoint, self._grpc.start())
        if config.http_endpoint != "off":
            self._http = HttpServer(
                config, self._keys, self._intake, self._reads, self._metrics,
                ready=self._not_ready, metrics_open=self._auth.metrics_open, max_connections=connections, tls=self._tls,
            )  # fmt: skip
            self._addresses["http"] = await _listening("http", config.http_endpoint, self._http.start())
        if self._tls is not None:
            self._watching = asyncio.create_task(self._tls.watch())
        if config.grpc_endpoint == "off" or self._tls is not None:
            self._local = LocalServer(segments)
            self._addresses["local"] = await self._local.start()

    def _say_who_may(self) -> None:
        short = sum(len(key.get_secret_value()) < MIN_KEY_CHARACTERS for key in self._config.api_keys)
        if short:
            what = "short keys in [receiver] api_keys are soon guessed: [auth] ingest_keys refuses them"
            event(log, what, level=logging.WARNING, keys=short, at_least=MIN_KEY_CHARACTERS)
        if not (self._keys.open[Role.READ] or self._auth.metrics_open):
            event(log, "metrics need a key: scrape with one of [auth] read_keys, or set metrics_open")
        for name in ("grpc_endpoint", "http_endpoint"):
            host = getattr(self._config, name).rpartition(":")[0].strip("[]")
            beyond = host not in ("127.0.0.1", "::1", "localhost", "off", "")
            missing = [
                what
                for what, there in (("TLS", self._config.tls_cert_file), ("keys", not self._keys.open[Role.INGEST]))
                if not there
            ]
            if beyond and missing:
                what = f"listening beyond this machine without {' or '.join(missing)}: who can connect can write"
                event(log, what, level=logging.WARNING, endpoint=getattr(self._config, name))

    def _leave_address(self) -> None:
        path = self._data_dir / ADDRESS_FILE
        document: dict[str, Any] = {**self._addresses, "pid": os.getpid(), "token": self._token}
        document["started_at"] = time.time_ns()
        if self._config.tls_cert_file:
            document["tls_ca_file"] = str(self._config.tls_cert_file.absolute())
        temporary = path.with_suffix(".new")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as file:
                json.dump(document, file)
            temporary.rename(path)
        except OSError as error:
            raise _unusable(self._data_dir, error) from None

    def _not_ready(self) -> str | None:
        return self._intake.not_ready() or self._loader.not_ready()

    async def _seal(self) -> None:
        try:
            await self._loader.seal(self._ingest.position, timeout=SEAL_SECONDS)
        except LoaderGone as error:
            raise RuntimeError(str(error)) from None

    async def watch(self, stopping: asyncio.Event) -> None:
        """Keep the health answer true until it is time to stop."""
        serving = True
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
            now_serving = self._not_ready() is None
            if now_serving != serving and self._grpc is not None:
                event(log, "readiness changed", ready=now_serving, reason=self._not_ready() or "ok")
                await self._grpc.set_serving(now_serving)
            serving = now_serving

    async def stop(self) -> int:
        """Drain: answer what is in flight, load and seal what was acknowledged. Nothing is lost when time runs out."""
        self._intake.draining = True
        self._loader.tail.close()
        if self._watching is not None:
            self._watching.cancel()
        started = time.monotonic()
        with contextlib.suppress(FileNotFoundError):
            (self._data_dir / ADDRESS_FILE).unlink()
        grace = min(5.0, self._config.drain_seconds)
        if self._grpc is not None:
            await self._grpc.set_serving(False)
            await self._grpc.stop(grace)
        grace = max(0.1, grace - (time.monotonic() - started))
        if self._http is not None:
            await self._http.stop(grace)
        if self._local is not None:
            await self._local.stop()
        self._ingest.close()
        self._intake.close()
        self._reads.close()
        left = max(1.0, self._config.drain_seconds - (time.monotonic() - started))
        loaded = await self._loader.stop(self._ingest.position, timeout=left)
        event(log, "receiver stopped", drained=loaded, seconds=time.monotonic() - started)
        if left_over := backlog.waiting(self._data_dir):
            what = "backlog left: the next start loads it, or 'halo receive --drain'"
            since = datetime.fromtimestamp(left_over.since_ns // 10**9, UTC)
            event(log, what, level=logging.WARNING, bytes=left_over.bytes, since=f"{since:%Y-%m-%dT%H:%M:%SZ}")
        return 0


def _unusable(directory: Path, error: OSError) -> DirectoryUnusable:
    return DirectoryUnusable(
        f"cannot write {directory}: {error.strerror}", hint="make it writable for this user, or free some disk"
    )


async def _listening(name: str, endpoint: str, start: Any) -> str:
    try:
        address: str = await start
    except OSError as error:
        raise HaloError(
            f"cannot listen on {endpoint} ({name}): {error.strerror or error}",
            hint=f"another program has the port, or the address is not of this machine: choose with --{name}-endpoint",
        ) from None
    return address
