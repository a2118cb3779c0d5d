"""The worker's only door to grpc: it asks a running receiver to seal, so that an analysis sees all it acknowledged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import orjson

from halo_receiver.pb import segments_pb2
from halo_worker.errors import ReceiverAway

ADDRESS_FILE = "receiver.json"
SEAL_SECONDS = 30.0
STATUS_SECONDS = 5.0
NO_PROXY = (("grpc.enable_http_proxy", 0),)  # the receiver is on this machine, whatever proxy the environment names


@dataclass(frozen=True, slots=True)
class ReceiverAddress:
    """What a running receiver leaves in the data directory for callers on the same machine."""

    pid: int
    grpc: str | None
    http: str | None
    token: str
    tls_ca_file: str | None = None
    local: str | None = None  # halo.v1.Segments without TLS, on loopback; None where the gRPC port has none itself

    @classmethod
    def read(cls, data_dir: Path) -> ReceiverAddress | None:
        """Read it; None when no receiver has left one, or it cannot be read."""
        try:
            document = orjson.loads((data_dir / ADDRESS_FILE).read_bytes())
            return cls(
                pid=int(document["pid"]),
                grpc=document.get("grpc"),
                http=document.get("http"),
                token=str(document.get("token", "")),
                tls_ca_file=document.get("tls_ca_file"),
                local=document.get("local"),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Sealed:
    """Whether a receiver answered, and if not, why not."""

    answered: bool
    reason: str = ""


def seal(data_dir: Path, *, timeout: float = SEAL_SECONDS) -> Sealed:
    """Ask the receiver of `data_dir` to seal. Without one the sealed files alone are read, and `reason` says so."""
    address = ReceiverAddress.read(data_dir)
    if address is None:
        return Sealed(False, "no receiver is running on this directory")
    try:
        _call(address, "Seal", segments_pb2.SealRequest(), segments_pb2.SealResponse, timeout)
    except grpc.RpcError as error:
        return Sealed(False, f"the receiver at {_target(address)} did not seal: {error.code().name}: {error.details()}")
    return Sealed(True)


@dataclass(frozen=True, slots=True)
class Status:
    """How a running receiver is: why it takes nothing now (empty when it does), and its metrics."""

    trouble: str
    metrics: str


def status(address: ReceiverAddress, *, timeout: float = STATUS_SECONDS) -> Status | str:
    """Ask a receiver how it is; a string when it does not answer, which says why."""
    try:
        answer = _call(address, "Status", segments_pb2.StatusRequest(), segments_pb2.StatusResponse, timeout)
    except grpc.RpcError as error:
        return f"the receiver at {_target(address)} does not answer: {error.code().name}: {error.details()}"
    return Status(answer.trouble, answer.metrics)


@contextlib.contextmanager
def tail(data_dir: Path, *, recent: int) -> Iterator[Iterator[segments_pb2.TailResponse]]:
    """Open what the receiver of `data_dir` stores, as it stores it, after at most `recent` spans from before.

    Messages without spans come now and then. Raises ReceiverAway when there is no receiver, or when it ends.
    """
    address = ReceiverAddress.read(data_dir)
    if address is None:
        raise ReceiverAway(
            f"no receiver is running on {data_dir}",
            hint="'halo up' starts one; 'halo traces' lists what is stored",
        )
    with grpc.insecure_channel(_target(address), options=NO_PROXY) as channel:
        call = channel.unary_stream(
            "/halo.v1.Segments/Tail",
            request_serializer=segments_pb2.TailRequest.SerializeToString,
            response_deserializer=segments_pb2.TailResponse.FromString,
        )(segments_pb2.TailRequest(recent=recent), metadata=_metadata(address))
        try:
            yield call
        except grpc.RpcError as error:
            raise ReceiverAway(
                f"the receiver at {_target(address)} is not there: {error.code().name}: {error.details()}",
                hint="'halo status' says what runs",
            ) from None
        finally:
            call.cancel()


def _metadata(address: ReceiverAddress) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {address.token}"),)


def _call(address: ReceiverAddress, method: str, request: Any, answer: Any, timeout: float) -> Any:
    with grpc.insecure_channel(_target(address), options=NO_PROXY) as channel:
        call = channel.unary_unary(
            f"/halo.v1.Segments/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=timeout, metadata=_metadata(address))


def _target(address: ReceiverAddress) -> str:
    """Return where the service is: an address that listens everywhere is reached on loopback."""
    target = address.local or address.grpc or ""
    host, _, port = target.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "::") else target  # noqa: S104 - compared, not bound
