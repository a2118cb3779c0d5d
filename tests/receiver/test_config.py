"""Settings: from defaults, file, environment and flags; what is wrong is named with the nearest right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halo_receiver.config import load_receiver
from halo_receiver.errors import ConfigError


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "halo.toml"
    file.write_text("[store]\nrotate_seconds = 1\nretention_days = 2\nthreads = 3\n[schedules.daily]\ncron = 'x'\n")
    store, *_ = load_receiver(
        file=file,
        environment={"HALO_STORE_RETENTION_DAYS": "5", "HALO_STORE_THREADS": "4"},
        overrides={"store": {"threads": 6}},
    )
    assert (store.rotate_seconds, store.retention_days, store.threads) == (1, 5, 6)


def test_keys_come_from_the_environment_and_are_not_printed() -> None:
    _, receiver, *_ = load_receiver(environment={"HALO_RECEIVER_API_KEYS": "first, second"})
    assert [key.get_secret_value() for key in receiver.api_keys] == ["first", "second"]
    assert "first" not in repr(receiver)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[store]\nrotate_second = 3", "[store] has no setting 'rotate_second'", "did you mean 'rotate_seconds'?"),
        ("[stor]\n", "unknown section [stor]", "did you mean 'store'?"),
        (
            "[store]\nrotate_seconds = 0",
            "[store] rotate_seconds: Input should be greater than 0",
            "rotate_seconds: Age",
        ),
        ("[receiver]\ngrpc_endpoint = 'here'", "grpc_endpoint is 'here': expected HOST:PORT or 'off'", ""),
        ("[receiver]\ntls_cert_file = 'a'", "tls_cert_file and tls_key_file must be set together", ""),
        ("store = 1", "[store] must be a table", "write '[store]'"),
        ("[store", "is not TOML", "deploy/halo.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    file = tmp_path / "halo.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_receiver(file=file, environment={})
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load_receiver(file=tmp_path / "none.toml", environment={})


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    store, receiver, *_ = load_receiver(environment={})
    assert store.data_dir == Path("halo-data")
    assert receiver.grpc_endpoint == "127.0.0.1:4317"


def test_a_variable_that_is_misspelt_is_named_and_those_of_others_are_left_alone() -> None:
    """Silence would be to run with the default, and to find out when the disk is full."""
    with pytest.raises(ConfigError, match="HALO_STORE_RETENTION_DAY is no setting") as caught:
        load_receiver(file=Path("/dev/null"), environment={"HALO_STORE_RETENTION_DAY": "3"})
    assert "HALO_STORE_RETENTION_DAYS" in caught.value.hint
    others = ["HALO_PYTHON", "HALO_KEY", "HALO_SINKS_TEAM_URL"]
    # Kubernetes, of a service named halo-receiver.
    others += ["HALO_RECEIVER_SERVICE_HOST", "HALO_RECEIVER_SERVICE_PORT_GRPC", "HALO_RECEIVER_PORT"]
    others += ["HALO_RECEIVER_PORT_4317_TCP", "HALO_RECEIVER_PORT_4317_TCP_ADDR"]
    load_receiver(file=Path("/dev/null"), environment=dict.fromkeys(others, "tcp://10.0.0.1:4317"))
