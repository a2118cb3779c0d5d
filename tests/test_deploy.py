"""What lies in deploy/, read as the programs it is for would read it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from halo_worker.cli import COMMANDS, group
from halo_worker.config import SECTIONS, load_settings
from tests.end_to_end.conftest import HALO, environment
from tests.fixtures_receiver import ReceiverProcess
from tests.receiver.test_tls import Authority

yaml = pytest.importorskip("yaml")

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = sorted(DEPLOY.glob("*.service"))


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every `halo …` that a file of deploy/ starts."""
    for unit in sorted(DEPLOY.glob("*.service")):
        for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE):
            program, *words = shlex.split(line)
            assert program.endswith("/halo")
            yield unit.name, words
    for file in ("compose.yaml", "compose.lake.yaml"):
        for name, service in yaml.safe_load((DEPLOY / file).read_text())["services"].items():
            if service["image"].startswith("halo"):
                yield f"{file} {name}", service["command"]
    for manifest in manifests():
        for container in containers(manifest):
            yield f"{manifest['kind']} {container['name']}", container["args"]
    [words] = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    yield "Dockerfile", json.loads(words)


VALIDATE = """
import json, sys, kubernetes_validate
for one in json.load(sys.stdin):
    kubernetes_validate.validate(one, "1.30", strict=True)
"""


def manifests() -> list[dict[str, Any]]:
    """Every object of deploy/kubernetes, as kustomize finds it."""
    resources = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [one for file in resources for one in yaml.safe_load_all((KUBERNETES / file).read_text())]


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod that an object starts, with its labels; empty for what starts none."""
    spec = manifest.get("spec", {})
    template: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return template


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers that an object starts."""
    pod = pod_of(manifest).get("spec", {})
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


@pytest.mark.parametrize(("where", "words"), list(command_lines()))
def test_every_command_that_is_started_is_one(where: str, words: list[str]) -> None:
    """Options included: a flag that was renamed would end a service at its start."""
    name, *rest = words
    assert name in COMMANDS, where
    command = group.get_command(click.Context(group), name)
    while isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(click.Context(command), name)
    assert command is not None
    command.make_context(name, rest)


def test_every_variable_is_a_setting() -> None:
    known = {
        f"HALO_{section}_{field}".upper()
        for section, model in SECTIONS.items()
        if not isinstance(model, list)
        for field in model.model_fields
    }
    sections = "|".join(section.upper() for section in SECTIONS)
    for path in (path for path in sorted(DEPLOY.rglob("*")) if path.is_file()):
        named = set(re.findall(rf"HALO_(?:{sections})_[A-Z_]+", path.read_text()))
        assert {name for name in named if not name.startswith(("HALO_SINKS", "HALO_SCHEDULES"))} <= known, path.name


def test_the_worker_may_write_reports_and_not_segments() -> None:
    """The unit closes what the worker reads, and leaves open what it writes."""
    unit = (DEPLOY / "halo-worker.service").read_text()
    [closed] = re.findall(r"^ReadOnlyPaths=(.*)$", unit, re.MULTILINE)
    assert {path.lstrip("-").rpartition("/")[2] for path in closed.split()} == {"segments", "spool"}
    assert "StateDirectory=halo" in unit


def test_a_unit_and_a_container_cannot_take_the_hosts_memory() -> None:
    assert all(re.search(r"^MemoryMax=\d+G$", unit.read_text(), re.MULTILINE) for unit in UNITS)
    for file in ("compose.yaml", "compose.lake.yaml"):
        services = yaml.safe_load((DEPLOY / file).read_text())["services"]
        assert [name for name, service in services.items() if "mem_limit" not in service] in ([], ["bucket"]), file


def test_objects_of_kubernetes_name_what_there_is() -> None:
    """Labels that are selected, ports and volumes that are used, the account that starts nothing as root."""
    pods = {one["metadata"]["name"]: pod for one in manifests() if (pod := pod_of(one))}
    labels = [pod["metadata"]["labels"] for pod in pods.values()]
    for one in manifests():
        spec = one["spec"]
        chosen = spec.get("podSelector", spec.get("selector", {}))
        wanted = chosen.get("matchLabels", chosen)
        assert not wanted or any(wanted.items() <= had.items() for had in labels), one["metadata"]["name"]
    for name, pod in pods.items():
        spec = pod["spec"]
        assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False), name
        for container in containers({"spec": {"template": pod}}):
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [value["httpGet"]["port"] for key, value in container.items() if key.endswith("Probe")]
            assert set(probes) <= ports, name
            assert container["resources"]["limits"]["memory"], name
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted - {"data"} <= {volume["name"] for volume in spec["volumes"]}, name
    named = {
        port["name"] for pod in pods.values() for one in pod["spec"]["containers"] for port in one.get("ports", ())
    }
    for one in manifests():
        rules = one["spec"].get("ingress", ()) if one["kind"] == "NetworkPolicy" else ()
        assert {port["port"] for rule in rules for port in rule["ports"]} <= named


def test_settings_of_kubernetes_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (KUBERNETES / "secret.example.env").read_text().splitlines()
    secrets = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    settings = load_settings(file=KUBERNETES / "halo.toml", environment=secrets)
    assert settings.lake.on
    assert list(settings.schedules) == ["daily"]


@pytest.mark.peer
def test_kubernetes_takes_every_object() -> None:
    """By the schemas of its API, which refuse what they do not know."""
    packages = Path(os.environ.get("HALO_PEERS", "absent"), "python")
    if not (packages / "kubernetes_validate").is_dir():
        pytest.skip("SKIPPED, deploy/kubernetes is not validated: HALO_PEERS has no kubernetes-validate")
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE], input=json.dumps(manifests()), env={"PYTHONPATH": str(packages)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.peer
def test_kustomize_renders_them(tmp_path: Path) -> None:
    program = shutil.which("kustomize") or shutil.which("kubectl")
    if program is None:
        pytest.skip("SKIPPED, deploy/kubernetes is not rendered: neither kustomize nor kubectl is installed")
    shutil.copytree(KUBERNETES, tmp_path / "k")
    (tmp_path / "k" / "secret.env").write_bytes((KUBERNETES / "secret.example.env").read_bytes())
    words = [program, "build"] if program.endswith("kustomize") else [program, "kustomize"]
    done = subprocess.run([*words, str(tmp_path / "k")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert {one["metadata"]["namespace"] for one in made} == {"halo"}
    assert {"ConfigMap", "Secret", "StatefulSet", "Deployment", "CronJob"} <= {one["kind"] for one in made}


systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: install Debian's package systemd"
)
MOST_EXPOSED = 2.5


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_with_nothing_but_its_user_and_the_program(unit: Path) -> None:
    """Settings are optional, and what a directory is needed for is made by systemd."""
    text = unit.read_text()
    assert "--config" not in text
    assert "\nConfigurationDirectory=halo\nWorkingDirectory=/etc/halo\n" in text
    assert re.findall(r"^EnvironmentFile=[^-].*$", text, re.MULTILINE) == []
    assert "\nUMask=0077\n" in text


@systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_every_line_of_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/halo/bin/halo ", "/bin/true ").replace("file:/opt", "file:///opt"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


@systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_as_closed_as_systemd_asks_for(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def health_checks() -> list[list[str]]:
    """What the image and compose run to know whether a receiver is healthy."""
    [image] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["receiver"]["healthcheck"]["test"]
    assert compose[0] == "CMD"
    return [json.loads(image), compose[1:]]


def healthy(data_dir: Path) -> tuple[int, str]:
    """Run the image's check by hand, as the container runtime does; its exit code and what it says."""
    [program, *words] = health_checks()[0]
    assert program == "halo"
    done = subprocess.run(
        [*HALO, *words], env=environment() | {"HALO_STORE_DATA_DIR": str(data_dir)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_image_and_compose_ask_the_same() -> None:
    image, compose = health_checks()
    assert image == compose == ["halo", "ping"]
    assert "HALO_STORE_DATA_DIR=/var/lib/halo/data" in (DEPLOY / "Dockerfile").read_text(), (
        "where it finds receiver.json"
    )


@pytest.mark.parametrize("how", ["plain", "TLS and keys", "mutual TLS", "HTTP off", "gRPC off"])
def test_a_receiver_is_healthy_however_it_listens(tmp_path: Path, how: str) -> None:
    words: list[str] = []
    settings: dict[str, str] = {}
    if "TLS" in how:
        if shutil.which("openssl") is None:
            pytest.skip("SKIPPED, a check over TLS is not tested: openssl is not installed")
        certificate, key = Authority(tmp_path, "first").issue("server")
        settings = {"HALO_RECEIVER_TLS_CERT_FILE": str(certificate), "HALO_RECEIVER_TLS_KEY_FILE": str(key)}
    if how == "mutual TLS":
        settings["HALO_RECEIVER_TLS_CLIENT_CA_FILE"] = settings["HALO_RECEIVER_TLS_CERT_FILE"]
    if how == "TLS and keys":
        settings |= {"HALO_AUTH_INGEST_KEYS": "ingest-key-1", "HALO_AUTH_OPERATOR_KEYS": "operator-key-1"}
    if how.endswith(" off"):
        words = [f"--{how.split()[0].lower()}-endpoint", "off"]
    receiver = ReceiverProcess(tmp_path / "data", *words, **settings)
    try:
        assert healthy(tmp_path / "data")[0] == 0
    finally:
        receiver.terminate()
    assert healthy(tmp_path / "data") == (1, f"not ready: no receiver is running on {tmp_path / 'data'}\n")


def test_a_receiver_that_takes_nothing_or_was_killed_is_not_healthy(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_MIN_FREE_BYTES=str(2**60))
    try:
        code, said = healthy(tmp_path / "data")
        assert (code, "not ready: the disk is full" in said) == (1, True), said
    finally:
        receiver.kill()
    code, said = healthy(tmp_path / "data")
    assert (code, "does not answer" in said) == (1, True), said


def test_what_a_large_window_needs_beside_memory_lies_on_disk() -> None:
    worker = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    assert "tmpfs" not in worker
    assert any(volume.endswith(":/tmp") for volume in worker["volumes"])
    unit = (DEPLOY / "halo-worker.service").read_text()
    assert "Environment=TMPDIR=/var/tmp\n" in unit
    assert "PrivateTmp=true\n" in unit, "which makes that writable"


def test_who_needs_the_network_of_whom() -> None:
    """receiver.json holds loopback addresses: the worker must share the receiver's network to ask it to seal."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services["worker"]["network_mode"] == "service:receiver"
    assert services["worker"]["volumes"][0] == services["receiver"]["volumes"][0]
    assert all(port.startswith("127.0.0.1:") for port in services["receiver"]["ports"]), "wider on purpose only"
