"""The worker's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_worker.config import load_settings
from halo_worker.errors import ConfigError
from halo_worker.moments import moment, seconds_of


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "halo.toml"
    file.write_text(text)
    return file


def test_without_a_key_the_detectors_work_and_with_one_the_model(tmp_path: Path) -> None:
    empty = write(tmp_path, "")
    assert load_settings(file=empty, environment={}).engine_for() == "detectors"
    settings = load_settings(file=empty, environment={"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://x/v1"})
    assert settings.engine_for() == "rlm"
    assert settings.model.base_url == "http://x/v1"
    assert settings.engine_for("detectors") == "detectors"


def test_the_default_is_one_daily_schedule(tmp_path: Path) -> None:
    settings = load_settings(file=write(tmp_path, ""), environment={})
    assert list(settings.schedules) == ["daily"]


def test_an_entry_takes_its_settings_from_the_environment_too(tmp_path: Path) -> None:
    file = write(tmp_path, "[sinks.ops]\ntype = 'webhook'\nurl = 'https://example.org/x'\n")
    settings = load_settings(file=file, environment={"HALO_SINKS_OPS_SECRET": "whsec_abc"})
    secret = settings.sinks["ops"].secret
    assert secret is not None
    assert secret.get_secret_value() == "whsec_abc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[schedules.x]\ncron = '0 6 * * * *'", "has 6 fields"),
        ("[schedules.x]\ncron = '0 6 * * *'\ntimezone = 'Berlin'", "is not an IANA name"),
        ("[schedules.x]\ncron = '0 6 * * *'\ninterval = '1h'", "either cron or interval"),
        ("[schedules.x]\ninterval = 'soon'", "is not a length of time"),
        ("[schedules.x]\ninterval = '1h'\nsinks = ['slak']", "names the sink 'slak'"),
        ("[sinks.x]\ntype = 'webhook'", "a webhook sink needs url"),
        ("[sinks.x]\ntype = 'slack'\nurl = 'ftp://x'", "url must begin with http"),
        ("[sinks.x]\ntype = 'github'\nrepo = 'acme/agents'", "a github sink needs a token, in the environment"),
        ("[sinks.x]\ntype = 'github'\nrepo = 'acme'", "repo is OWNER/NAME"),
        ("[budget]\nmax_turn = 3", "has no setting 'max_turn'"),
    ],
)
def test_what_is_wrong_is_said_at_start(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(file=write(tmp_path, text), environment={})
    assert message in str(caught.value)


def test_lengths_and_moments() -> None:
    assert seconds_of("1h30m") == 5400
    assert moment("2026-01-01") == moment("2026-01-01T01:00+01:00")
    for wrong in ("", "5", "5x", "1h x"):
        with pytest.raises(ValueError, match="is not a length of time"):
            seconds_of(wrong)


def test_a_variable_of_an_entry_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "halo.toml"
    file.write_text('[sinks.team]\ntype = "slack"\n')
    found = load_settings(file=file, environment={"HALO_SINKS_TEAM_URL": "https://hooks.example/x"})
    assert found.sinks["team"].url is not None
    with pytest.raises(ConfigError, match=r"HALO_SINKS_TEEM_URL belongs to no entry of \[sinks\]") as caught:
        load_settings(file=file, environment={"HALO_SINKS_TEEM_URL": "https://hooks.example/x"})
    assert "team" in caught.value.hint
    with pytest.raises(ConfigError, match="HALO_SINKS_TEAM_ULR") as caught:
        load_settings(file=file, environment={"HALO_SINKS_TEAM_ULR": "https://hooks.example/x"})
    assert "HALO_SINKS_TEAM_URL" in caught.value.hint
