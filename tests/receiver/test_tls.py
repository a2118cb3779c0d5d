"""TLS, client certificates and bearer keys, over both transports, and what replaces them while the receiver runs."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from halo_worker import segments_client
from tests.fixtures_receiver import EXPORT, ReceiverProcess, eventually, post, trace_request
from tests.sampled import sampled

COUNT = "SELECT count(DISTINCT trace_id) AS n FROM spans"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Authority:
    """A certificate authority of its own, made with openssl."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", str(self._key), "-out", str(self.certificate), "-subj", f"/CN={name}",
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.directory)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for this machine, and its key."""
        certificate, key, request = (self.directory / f"{name}.{end}" for end in ("crt", "key", "csr"))
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key),
            "-out", str(request), "-subj", f"/CN={name}",
        )  # fmt: skip
        extension = self.directory / f"{name}.ext"
        extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key),
            "-CAcreateserial", "-days", "2", "-extfile", str(extension), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("SKIPPED, TLS is not tested: openssl is not installed")
    return Authority(tmp_path_factory.mktemp("authority"), "first")


@pytest.fixture(scope="module")
def receiver(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    """A receiver that demands client certificates."""
    certificate, key = authority.issue("server")
    process = ReceiverProcess(
        tmp_path_factory.mktemp("tls") / "data",
        HALO_RECEIVER_TLS_CERT_FILE=str(certificate),
        HALO_RECEIVER_TLS_KEY_FILE=str(key),
        HALO_RECEIVER_TLS_CLIENT_CA_FILE=str(authority.certificate),
    )
    yield process
    process.kill()


def export(receiver: ReceiverProcess, authority: Authority, client: tuple[Path, Path] | None, trace: int) -> None:
    certificate, key = (path.read_bytes() for path in client) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)
    with grpc.secure_channel(receiver.grpc.replace("127.0.0.1", "localhost"), credentials) as channel:
        channel.unary_unary(EXPORT)(trace_request((trace, 1)), timeout=10)


def send(receiver: ReceiverProcess, authority: Authority, client: tuple[Path, Path] | None, trace: int) -> int:
    context = ssl.create_default_context(cafile=authority.certificate)
    if client:
        context.load_cert_chain(*client)
    url = f"{receiver.http.replace('http://', 'https://')}/v1/traces"
    request = urllib.request.Request(url, trace_request((trace, 1)), PROTOBUF)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return int(answer.status)


def test_a_client_with_a_certificate_of_the_authority_is_let_in(
    receiver: ReceiverProcess, authority: Authority
) -> None:
    client = authority.issue("client")
    export(receiver, authority, client, 1)
    assert send(receiver, authority, client, 2) == 200
    # `halo query` has no certificate: it seals on a loopback port of its own.
    assert receiver.rows(f"{COUNT} WHERE trace_id IN ('{1:032x}', '{2:032x}')") == [{"n": 2}]


def test_a_client_without_one_or_with_a_strangers_is_not(
    receiver: ReceiverProcess, authority: Authority, tmp_path: Path
) -> None:
    for client in (None, Authority(tmp_path, "stranger").issue("client")):
        with pytest.raises(grpc.RpcError) as caught:
            export(receiver, authority, client, 666)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            send(receiver, authority, client, 666)
    assert receiver.rows(f"{COUNT} WHERE trace_id = '{666:032x}'") == [{"n": 0}]


def test_plain_text_is_not_answered(receiver: ReceiverProcess) -> None:
    with pytest.raises((urllib.error.URLError, ConnectionError, ValueError)):
        post(f"{receiver.http}/v1/traces", trace_request((666, 1)), **PROTOBUF)


def test_a_certificate_that_is_replaced_is_used_without_a_restart(
    receiver: ReceiverProcess, authority: Authority
) -> None:
    """Also when certificate and key are replaced one after the other, and do not fit for a moment."""
    client = authority.issue("client-of-the-second")
    certificate, key = authority.directory / "server.crt", authority.directory / "server.key"
    before = served(receiver, authority, client)
    renewed = authority.issue("renewed")
    later = time.time() + 5
    shutil.copy(renewed[0], certificate)
    os.utime(certificate, (later, later))
    export(receiver, authority, client, 3)
    eventually(lambda: "certificate not reread" in receiver.log())
    assert served(receiver, authority, client) == before
    shutil.copy(renewed[1], key)
    os.utime(key, (later + 1, later + 1))
    for transport in ("grpc", "http"):
        eventually(lambda transport=transport: served(receiver, authority, client)[transport] != before[transport])
    export(receiver, authority, client, 4)
    assert send(receiver, authority, client, 5) == 200


@pytest.fixture
def rotated(authority: Authority, tmp_path: Path) -> Iterator[ReceiverProcess]:
    """A receiver whose files, in `tmp_path`, the test replaces: server.crt, server.key, clients.pem."""
    for made, name in zip(authority.issue("rotated"), ("server.crt", "server.key"), strict=True):
        shutil.copy(made, tmp_path / name)
    shutil.copy(authority.certificate, tmp_path / "clients.pem")
    process = ReceiverProcess(
        tmp_path / "data",
        HALO_RECEIVER_TLS_CERT_FILE=str(tmp_path / "server.crt"),
        HALO_RECEIVER_TLS_KEY_FILE=str(tmp_path / "server.key"),
        HALO_RECEIVER_TLS_CLIENT_CA_FILE=str(tmp_path / "clients.pem"),
    )
    yield process
    process.kill()


def encrypted(key: Path) -> bytes:
    return subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(key), "-passout", "pass:secret"], check=True, capture_output=True
    ).stdout


BROKEN: dict[str, Callable[[Authority, Path], None]] = {
    "of another key": lambda authority, folder: replaced(folder / "server.crt", authority.issue("other")[0]),
    "no certificate": lambda _, folder: replaced(folder / "server.crt", b"no certificate"),
    "empty": lambda _, folder: replaced(folder / "server.key", b""),
    "half written": lambda _, folder: replaced(folder / "server.crt", (folder / "server.crt").read_bytes()[:200]),
    "lost": lambda _, folder: (folder / "server.key").unlink(),
    "a key with a passphrase": lambda _, folder: replaced(folder / "server.key", encrypted(folder / "server.key")),
    "no authority": lambda _, folder: replaced(folder / "clients.pem", b"-----BEGIN CERTIFICATE-----\n"),
    "a pipe": lambda _, folder: piped(folder / "server.crt"),
}


def replaced(path: Path, by: bytes | Path) -> None:
    """Replace a file at once, as certificate managers do, and with the time of the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(by.read_bytes() if isinstance(by, Path) else by)
    old = path.stat()
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.rename(path)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("how", sampled(BROKEN, 4))
def test_files_that_do_not_work_leave_the_last_in_use_on_both_ports(
    rotated: ReceiverProcess, authority: Authority, tmp_path: Path, how: str
) -> None:
    client = authority.issue("client")
    before = served(rotated, authority, client)
    kept = {path: path.read_bytes() for path in (tmp_path / name for name in ("server.crt", "server.key"))}
    BROKEN[how](authority, tmp_path)
    eventually(lambda: rotated.log().count("certificate not reread") == 1)
    for trace in (1, 2):
        export(rotated, authority, client, trace)
        assert send(rotated, authority, client, trace + 10) == 200
    assert served(rotated, authority, client) == before
    for path, content in kept.items():  # and once they work again, they are used
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    replaced(tmp_path / "clients.pem", authority.certificate)
    for name, made in zip(("server.crt", "server.key"), authority.issue("renewed"), strict=True):
        replaced(tmp_path / name, made)
    for transport in ("grpc", "http"):
        eventually(lambda transport=transport: served(rotated, authority, client)[transport] != before[transport])
    assert rotated.log().count("certificate not reread") <= 2, "said once, not every second"
    address = segments_client.ReceiverAddress.read(rotated.data_dir)
    assert address is not None
    status = segments_client.status(address)
    assert isinstance(status, segments_client.Status)
    assert re.search("halo_tls_reload_failures_total [12].0", status.metrics)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"], ids=["with a name", "without"])
def test_a_removed_authority_is_refused_and_a_new_one_let_in_by_both_ports(
    rotated: ReceiverProcess, authority: Authority, tmp_path: Path, version: ssl.TLSVersion, name: str
) -> None:
    (tmp_path / "second").mkdir()
    second = Authority(tmp_path / "second", "second")
    mine, theirs = authority.issue("mine"), second.issue("theirs")
    open_connection = connected(rotated, authority, mine, version, name)
    assert asked(open_connection) == 200
    export(rotated, authority, mine, 1)
    replaced(tmp_path / "clients.pem", second.certificate)
    eventually(lambda: "certificate reread" in rotated.log())
    assert asked(connected(rotated, authority, theirs, version, name)) == 200
    export(rotated, authority, theirs, 2)
    with pytest.raises(grpc.RpcError):
        export(rotated, authority, mine, 3)
    with pytest.raises((OSError, http.client.HTTPException)):
        asked(connected(rotated, authority, mine, version, name))
    assert asked(open_connection) == 503, "what was open before is told to connect again"
    assert open_connection.sock is None


def test_a_new_certificate_of_the_same_authorities_ends_no_connection(
    rotated: ReceiverProcess, authority: Authority, tmp_path: Path
) -> None:
    client = authority.issue("client")
    connection = connected(rotated, authority, client, ssl.TLSVersion.TLSv1_3, "localhost")
    assert asked(connection) == 200
    for path, made in zip(("server.crt", "server.key"), authority.issue("renewed"), strict=True):
        replaced(tmp_path / path, made)
    eventually(lambda: "certificate reread" in rotated.log())
    assert asked(connection) == 200


def connected(
    receiver: ReceiverProcess, authority: Authority, client: tuple[Path, Path], version: ssl.TLSVersion, name: str
) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=authority.certificate)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*client)
    return http.client.HTTPSConnection(name, int(receiver.http.rpartition(":")[2]), context=context, timeout=10)


def asked(connection: http.client.HTTPSConnection) -> int:
    connection.request("POST", "/v1/traces", b"", PROTOBUF)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def served(receiver: ReceiverProcess, authority: Authority, client: tuple[Path, Path]) -> dict[str, bytes]:
    """The certificates that the two ports show."""
    import socket

    shown = {}
    for transport, protocols in (("grpc", ["h2"]), ("http", ["http/1.1"])):
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*client)
        context.set_alpn_protocols(protocols)
        host, _, port = str(receiver.address[transport]).rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            shown[transport] = wrapped.getpeercert(binary_form=True) or b""
    return shown


def test_any_of_several_keys_opens_and_none_does_not(tmp_path: Path) -> None:
    """Several, so that rotating them drops no data: UNAUTHENTICATED is permanent to a Collector."""
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_API_KEYS="old,new")
    try:
        for key in ("old", "new"):
            receiver.export(trace_request((1, 1)), authorization=f"Bearer {key}")
            headers = {**PROTOBUF, "Authorization": f"bearer {key}"}
            assert post(f"{receiver.http}/v1/traces", trace_request((1, 1)), **headers)[0] == 200
        for wrong in ("Bearer other", "old", "", "Basic old", "Bearer oldnew"):
            with pytest.raises(grpc.RpcError) as caught:
                receiver.export(trace_request((2, 1)), authorization=wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            headers = {**PROTOBUF, "Authorization": wrong}
            assert post(f"{receiver.http}/v1/traces", trace_request((2, 1)), **headers)[0] == 401
        assert post(f"{receiver.http}/v1/traces", b"", **PROTOBUF)[0] == 401
        assert receiver.rows(COUNT) == [{"n": 1}]
        text = receiver.metrics()
        assert 'halo_requests_total{code="UNAUTHENTICATED",signal="traces",transport="grpc"} 5.0' in text
        assert "old" not in receiver.log()
    finally:
        receiver.kill()
