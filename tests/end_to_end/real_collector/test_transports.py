"""Every way in which a Collector can be told to reach halo: transport, encoding, compression, security, keys, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.collector.process import DROPPED, configuration, exporter, spans
from tests.end_to_end.real_collector.conftest import Collect, Receivers
from tests.fixtures_receiver import eventually
from tests.receiver.test_tls import Authority

pytestmark = pytest.mark.peer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def secured(authority: Authority, security: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The receiver's settings and the exporter's `tls` for "plain", "TLS" or "mTLS"."""
    if security == "plain":
        return {}, {"insecure": True}
    certificate, key = authority.issue("server")
    settings = {"HALO_RECEIVER_TLS_CERT_FILE": str(certificate), "HALO_RECEIVER_TLS_KEY_FILE": str(key)}
    tls = {"ca_file": str(authority.certificate)}
    if security == "mTLS":
        settings["HALO_RECEIVER_TLS_CLIENT_CA_FILE"] = str(authority.certificate)
        certificate, key = authority.issue("client")
        tls |= {"cert_file": str(certificate), "key_file": str(key)}
    return settings, tls


@pytest.mark.parametrize("security", ["plain", "TLS", "mTLS"])
def test_every_span_arrives(collect: Collect, receivers: Receivers, authority: Authority, security: str) -> None:
    settings, tls = secured(authority, security)
    receivers.start(**settings)
    url = receivers.http if security == "plain" else receivers.http.replace("http:", "https:")
    ways = {
        "otlp_grpc/grpc_gzip": exporter(receivers.grpc, tls=tls, compression="gzip"),
        "otlp_grpc/grpc_none": exporter(receivers.grpc, tls=tls, compression="none"),
        "otlp_http/http_gzip": exporter(url, tls=tls, compression="gzip"),
        "otlp_http/http_none": exporter(url, tls=tls, compression="none"),
        "otlp_http/http_deflate": exporter(url, tls=tls, compression="deflate"),
        "otlp_http/http_json": exporter(url, tls=tls, encoding="json"),
    }
    collector = collect(configuration(ways))
    names = [way.partition("/")[2] for way in ways]
    for name in names:
        for first in range(0, 200, 50):
            send = collector.post if first % 100 else collector.send
            send(spans(first, 50, service=name), f"otlp/{name}")
    receivers.shows(**dict.fromkeys(names, 200))


def test_a_key_is_rotated_without_losing_a_span(
    collect: Collect, receivers: Receivers, authority: Authority, tmp_path: Path
) -> None:
    """halo takes the old and the new key, the Collector changes over, halo takes the new one alone.

    Over TLS, for over plain gRPC `bearertokenauth` refuses to send a token.
    """
    token = tmp_path / "token"
    token.write_text("old")
    settings, tls = secured(authority, "TLS")
    receivers.start(**settings, HALO_RECEIVER_API_KEYS="old")
    auth = {"authenticator": "bearertokenauth"}
    ways = {
        "otlp_grpc/grpc": exporter(receivers.grpc, tls=tls, auth=auth),
        "otlp_http/http": exporter(receivers.http.replace("http:", "https:"), tls=tls, auth=auth),
    }
    collector = collect(configuration(ways, extensions={"bearertokenauth": {"filename": str(token)}}))

    def send(first: int) -> None:
        for name in ("grpc", "http"):
            collector.send(spans(first, 10, service=name), f"otlp/{name}")

    send(0)
    receivers.shows(grpc=10, http=10)
    receivers.now.terminate()
    send(10)
    receivers.start(**settings, HALO_RECEIVER_API_KEYS="old,new")
    receivers.shows(grpc=20, http=20)
    token.write_text("new")
    eventually(lambda: collector.log("refresh token"))
    send(20)
    receivers.shows(grpc=30, http=30)
    receivers.now.terminate()
    send(30)
    receivers.start(**settings, HALO_RECEIVER_API_KEYS="new")
    receivers.shows(grpc=40, http=40)
    assert not collector.log(DROPPED)


def test_a_collector_refuses_to_send_a_token_over_plain_grpc(collect: Collect, receivers: Receivers) -> None:
    """Which is why the README writes the key into `headers` where there is no TLS."""
    receivers.start(HALO_RECEIVER_API_KEYS="key")
    extensions = {"bearertokenauth": {"token": "key"}}
    way = exporter(receivers.grpc, auth={"authenticator": "bearertokenauth"})
    with pytest.raises(AssertionError, match="transport level security"):
        collect(configuration({"otlp_grpc/a": way}, extensions=extensions))
    collector = collect(
        configuration({"otlp_grpc/a": exporter(receivers.grpc, headers={"authorization": "Bearer key"})})
    )
    collector.send(spans(0, 10, service="headers"), "otlp/a")
    receivers.shows(headers=10)


def test_the_names_of_the_exporters_before_v0_144_still_work(collect: Collect, receivers: Receivers) -> None:
    """`otlp` is an alias of `otlp_grpc`, `otlphttp` of `otlp_http`; the Collector warns of each."""
    receivers.start()
    collector = collect(
        configuration({"otlp/grpc": exporter(receivers.grpc), "otlphttp/http": exporter(receivers.http)})
    )
    for name in ("grpc", "http"):
        collector.send(spans(0, 10, service=name), f"otlp/{name}")
    receivers.shows(grpc=10, http=10)
    warned = {entry["msg"] for entry in collector.entries() if entry["level"] == "warn"}
    assert warned == {
        '"otlp" alias is deprecated; use "otlp_grpc" instead',
        '"otlphttp" alias is deprecated; use "otlp_http" instead',
    }
