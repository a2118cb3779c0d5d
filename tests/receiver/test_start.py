"""What stands in the way of a start is one clear line and a hint, exit 2, and never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halo_receiver.store.segment import listed
from tests.fixtures_receiver import ReceiverProcess, small_disk, trace_request


def refusal(data_dir: Path, *arguments: str, **environment: str) -> str:
    """Start a receiver that cannot start; what it says."""
    ports = ["--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "halo_receiver", "--data-dir", str(data_dir), *ports, *arguments],
        env={**os.environ, **environment}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stderr.decode()
    assert (done.returncode, "Traceback" in said) == (2, False), said
    assert "\nhint:  " in said
    return said


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path_factory.mktemp("start") / "data")
    yield process
    process.kill()


def test_a_directory_in_use_names_who_has_it(receiver: ReceiverProcess) -> None:
    said = refusal(receiver.data_dir)
    assert f"is in use by a receiver (process {receiver.process.pid})" in said


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_port_in_use_names_the_port_and_the_setting(
    receiver: ReceiverProcess, tmp_path: Path, transport: str
) -> None:
    taken = receiver.address[transport]
    said = refusal(tmp_path / "data", "--http-endpoint", "off", f"--{transport}-endpoint", taken)
    assert said.startswith(f"error: cannot listen on {taken} ({transport}): ")
    assert "ddress already in use" in said
    assert f"--{transport}-endpoint" in said


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    assert "203.0.113.9:4317" in refusal(tmp_path / "data", "--grpc-endpoint", "203.0.113.9:4317")


@pytest.mark.parametrize("place", ["", "segments", "spool"])
def test_a_file_where_a_directory_should_be_is_told(tmp_path: Path, place: str) -> None:
    data_dir = tmp_path / "data"
    blocked = data_dir / place
    blocked.parent.mkdir(exist_ok=True)
    blocked.touch()
    assert "error: cannot write" in refusal(data_dir)


@pytest.mark.parametrize("options", ["ro", "rw,size=64k"])
def test_an_unwritable_or_full_directory_is_told(tmp_path: Path, options: str) -> None:
    with small_disk(tmp_path / "disk", options) as disk:
        if options != "ro":
            with pytest.raises(OSError, match="No space"):
                (disk / "ballast").write_bytes(bytes(2**20))
        assert "error: cannot write" in refusal(disk / "data")


@pytest.mark.parametrize(("file", "says"), [("absent.pem", "No such file"), (__file__, "cannot be used")])
def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path, file: str, says: str) -> None:
    files = {"HALO_RECEIVER_TLS_CERT_FILE": file, "HALO_RECEIVER_TLS_KEY_FILE": file}
    assert says in refusal(tmp_path / "data", **files)


def test_damaged_and_unknown_segments_are_set_aside_and_the_receiver_starts(tmp_path: Path) -> None:
    segments = tmp_path / "data" / "segments"
    segments.mkdir(parents=True)
    (segments / "spans-20260101T000000Z-000001.duckdb").write_bytes(b"no database")
    (segments / "spans-20260101T000000Z-000002.duckdb.open").write_bytes(b"no database")
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        receiver.export(trace_request((1, 1)))
        assert receiver.rows("SELECT count(*) AS n FROM spans") == [{"n": 1}]
        assert len(listed(segments, "broken")) == 1
        assert "segment set aside" in receiver.log()
    finally:
        receiver.kill()


def test_listening_beyond_this_machine_without_tls_or_keys_is_said_loudly(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    receiver = ReceiverProcess(
        tmp_path / "data", "--grpc-endpoint", f"0.0.0.0:{port}", HALO_RECEIVER_API_KEYS="a-key-of-some-length"
    )
    try:
        said = receiver.log()
        assert (
            f"WARNING listening beyond this machine without TLS: who can connect can write endpoint=0.0.0.0:{port}"
            in said
        )
        # What listens everywhere is found on loopback by who reads the directory, with the token.
        assert receiver.rows("SELECT count(*) AS n FROM spans") == [{"n": 0}]
    finally:
        receiver.kill()
