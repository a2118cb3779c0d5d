"""The documents, tested against the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from halo_receiver.store.reader import Reader
from halo_worker.analysis.questions import client
from halo_worker.config import SECTIONS, load_settings
from halo_worker.display import visible
from halo_worker.rlm.interpreter.protocol import Limits

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COLLECTOR = (REPOSITORY / "docs" / "collector.md").read_text(encoding="utf-8")


def test_the_first_two_commands_of_the_readme_start_and_test() -> None:
    """The gate runs them as they stand."""
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)).splitlines()
    assert shell[:2] == ["sh deploy/start.sh demo", "sh deploy/test.sh"]


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("view", ["spans", "traces", "logs"])
def test_every_column_has_a_meaning_in_the_reference(tmp_path: Path, view: str) -> None:
    meaning = tomllib.loads((REPOSITORY / "halo_receiver" / "store" / "columns.toml").read_text(encoding="utf-8"))[view]
    (tmp_path / "segments").mkdir()
    with Reader.open(tmp_path) as reader:
        columns = {row["column_name"] for row in reader.query(f"DESCRIBE {view}")}
    assert meaning.keys() - {"about"} == columns


def test_the_limits_in_the_security_policy_are_those_of_the_code() -> None:
    policy = " ".join((REPOSITORY / "SECURITY.md").read_text(encoding="utf-8").split())
    code = Limits()
    for said in (
        f"{code.seconds:g} s of running, {code.memory_bytes >> 20} MiB, {code.host_calls:,} host calls and "
        f"{code.output_bytes:,} bytes of output each time",
        f"{client.SECONDS:g} s and {client.MEMORY_BYTES >> 20} MiB of DuckDB's memory",
        f"shown as `{visible(chr(0x202E))}`",
    ):
        assert said in policy
    assert not re.search(r"[\w.]+@[\w.]+\.\w", policy), "reports come by the repository's advisories, not by mail"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_shown_and_described(section: str) -> None:
    """deploy/halo.toml holds each setting, commented out, with what it does."""
    text = (REPOSITORY / "deploy" / "halo.toml").read_text(encoding="utf-8")
    model = SECTIONS[section]
    fields = (model[0] if isinstance(model, list) else model).model_fields
    assert re.search(rf"^#? ?\[{section}(\.\w+)?\]", text, re.MULTILINE)
    assert [name for name in fields if not re.search(rf"^#? ?{name} = ", text, re.MULTILINE)] == []
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_the_defaults_shown_are_the_defaults(section: str) -> None:
    """Where a setting has none, an example stands there, and it is valid TOML too."""
    text = (REPOSITORY / "deploy" / "halo.toml").read_text(encoding="utf-8")
    part = re.split(r"^#? ?\[", text, flags=re.MULTILINE)
    [lines] = [one for one in part if re.match(rf"{section}(\.\w+)?\]", one)]
    shown = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", lines, re.MULTILINE)))
    model = SECTIONS[section]
    for name, field in (model[0] if isinstance(model, list) else model).model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if default is None:
            continue
        if isinstance(default, BaseModel):
            default = default.model_dump()
        assert shown[name] == (str(default) if isinstance(default, Path) else default), name


def test_the_file_as_it_lies_there_changes_nothing() -> None:
    assert load_settings(file=REPOSITORY / "deploy" / "halo.toml", environment={}) == load_settings(
        file=Path("/dev/null"), environment={}
    )


TOML = [
    (path.name, text)
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
    for text in re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(("name", "text"), TOML)
def test_settings_that_a_document_shows_are_settings(tmp_path: Path, name: str, text: str) -> None:
    """What a comment says to put into the environment is there."""
    (tmp_path / "halo.toml").write_text(text, encoding="utf-8")
    environment = dict.fromkeys(re.findall(r"HALO_SINKS_\w+", text), "https://hooks.example/x")
    assert load_settings(file=tmp_path / "halo.toml", environment=environment), name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_what_a_document_names_is_there(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    files = re.findall(r"`((?:deploy|proto|tests|benchmarks|halo_receiver|halo_worker|\.ci)/[\w./-]*)`", text)
    assert [path for path in links + files if not (REPOSITORY / path).exists()] == []


def test_the_collector_configuration_of_the_docs_is_the_one_deployed() -> None:
    """What a reader copies and what deploy/collector.yaml holds differ in nothing but comments and the header."""
    yaml = pytest.importorskip("yaml")
    deployed = yaml.safe_load((REPOSITORY / "deploy" / "collector.yaml").read_text())["exporters"]["otlp_grpc"]
    [shown] = [
        block["exporters"]["otlp_grpc"]
        for text in re.findall(r"^```yaml\n(.*?)^```", COLLECTOR, re.MULTILINE | re.DOTALL)
        if "exporters" in (block := yaml.safe_load(text))
    ]
    shown.pop("headers")
    assert shown == {key: value for key, value in deployed.items() if key != "headers"} | {
        "sending_queue": {k: v for k, v in deployed["sending_queue"].items() if k in shown["sending_queue"]}
    }


def test_pins_name_no_place_to_install_from() -> None:
    lines = (REPOSITORY / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"(#.*|[\w.-]+==[\w.]+( ; .*)?)", line)] == []


def test_a_page_includes_the_files_that_it_means_to() -> None:
    """A formatter once took the marker for Python; the page then showed the marker."""
    marked = [
        line for page in REPOSITORY.glob("docs/*.md") for line in page.read_text("utf-8").splitlines() if "--8" in line
    ]
    included = [re.fullmatch(r'--8<-- "([^":]+)(:[^"]*)?"', line) for line in marked]
    assert marked
    assert all(found and (REPOSITORY / found[1]).is_file() for found in included), marked


@pytest.mark.parametrize("name", ["prometheus/alerts.yml", "grafana/halo.json"])
def test_rules_and_dashboard_ask_for_metrics_that_exist(name: str) -> None:
    """`promtool check rules` says that they parse, not that anything has these names."""
    asked = set(re.findall(r"\bhalo_[a-z_]+", (REPOSITORY / "examples" / name).read_text("utf-8")))
    code = "".join(
        (REPOSITORY / package / "metrics.py").read_text("utf-8") for package in ("halo_receiver", "halo_worker")
    )
    there = set(re.findall(r'"(halo_[a-z_]+)"', code))
    assert asked
    assert {re.sub("_(total|bucket|sum|count)$", "", metric) for metric in asked} <= there
