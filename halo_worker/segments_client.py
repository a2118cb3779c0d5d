"""The worker's only door to grpc: it asks a running receiver to seal, so that an analysis sees all it acknowledged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import grpc

from halo_receiver.pb import segments_pb2

ADDRESS_FILE = "receiver.json"
SEAL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReceiverAddress:
    """What a running receiver leaves in the data directory for callers on the same machine."""

    pid: int
    grpc: str | None
    http: str | None
    token: str
    tls_ca_file: str | None = None

    @classmethod
    def read(cls, data_dir: Path) -> ReceiverAddress | None:
        """Read it; None when no receiver has left one, or it cannot be read."""
        try:
            document = json.loads((data_dir / ADDRESS_FILE).read_text(encoding="utf-8"))
            return cls(
                pid=int(document["pid"]),
                grpc=document.get("grpc"),
                http=document.get("http"),
                token=str(document.get("token", "")),
                tls_ca_file=document.get("tls_ca_file"),
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
    if address is None or not address.grpc:
        return Sealed(False, "no receiver is running on this directory")
    with _channel(address) as channel:
        call = channel.unary_unary(
            "/halo.v1.Segments/Seal",
            request_serializer=segments_pb2.SealRequest.SerializeToString,
            response_deserializer=segments_pb2.SealResponse.FromString,
        )
        try:
            call(
                segments_pb2.SealRequest(),
                timeout=timeout,
                metadata=(("authorization", f"Bearer {address.token}"),),
            )
        except grpc.RpcError as error:
            return Sealed(False, f"the receiver at {address.grpc} did not seal: {error.code().name}: {error.details()}")
    return Sealed(True)


def _channel(address: ReceiverAddress) -> grpc.Channel:
    target = address.grpc or ""
    if address.tls_ca_file is None:
        return grpc.insecure_channel(target)
    credentials = grpc.ssl_channel_credentials(Path(address.tls_ca_file).read_bytes())
    return grpc.secure_channel(target, credentials)
