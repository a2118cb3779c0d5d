"""The doors: which module may import which library. Floors and directions are import-linter's (pyproject.toml).

A new library gets one named room, added here in the same commit.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OURS = ("halo_receiver", "halo_worker")

# Library → the modules (or packages, with a final dot) that may import it.
DOORS: dict[str, tuple[str, ...]] = {
    "aiohttp": ("halo_receiver.http_server", "halo_worker.page."),
    "apscheduler": ("halo_worker.cron", "halo_worker.schedule", "halo_worker.scheduler"),
    "click": ("halo_worker.cli.",),
    "distributed": ("halo_worker.parts.engines",),
    "duckdb": ("halo_receiver.store.", "halo_worker.page.trace_index"),
    "genai_prices": ("halo_receiver.conventions.cost", "halo_worker.rlm.provider.prices"),
    "google.protobuf": ("halo_receiver.answers", "halo_receiver.decode.", "halo_receiver.files.binary",
                        "halo_receiver.http_server", "halo_receiver.otlp_messages", "halo_receiver.pb.",
                        "halo_receiver.segments_service"),
    "google.rpc": ("halo_receiver.answers", "halo_receiver.http_server"),
    "grpc": ("halo_receiver.answers", "halo_receiver.segments_service", "halo_receiver.server",
             "halo_worker.demo.emit", "halo_worker.segments_client"),
    "grpc_health": ("halo_receiver.server",),
    "httpx": ("halo_worker.delivery.", "halo_worker.source.clickhouse", "halo_worker.source.remote"),
    "isal": ("halo_receiver.request_check",),
    "jinja2": ("halo_worker.delivery.", "halo_worker.page.rendering", "halo_worker.report.html",
               "halo_worker.report.rendering"),
    "jsonschema": ("halo_worker.analysis.", "halo_worker.rlm.agent.tool_arguments", "halo_worker.rlm.json_schema"),
    "markdown_it": ("halo_worker.report.answer_markdown",),
    "markupsafe": ("halo_worker.page.", "halo_worker.report."),
    "mcp": ("halo_worker.mcp_server.server", "halo_worker.mcp_server.transport"),
    "mcp_types": ("halo_worker.mcp_server.server",),
    "openai": ("halo_worker.rlm.provider.openai_model",),
    "opentelemetry.context": ("halo_worker.demo.", "halo_worker.telemetry"),
    "opentelemetry.exporter": ("halo_worker.demo.", "halo_worker.telemetry"),
    "opentelemetry.proto": ("halo_receiver.answers", "halo_receiver.otlp_messages"),
    "opentelemetry.sdk": ("halo_worker.cases.recording", "halo_worker.demo.", "halo_worker.telemetry"),
    "opentelemetry.trace": ("halo_worker.cases.recording", "halo_worker.demo.", "halo_worker.telemetry"),
    "opentelemetry.util": ("halo_worker.demo.",),
    "orjson": ("halo_receiver.", "halo_worker."),  # JSON is everywhere
    "psycopg": ("halo_receiver.store.lake_state",),
    "prometheus_client": ("halo_receiver.metrics", "halo_worker.metrics"),
    "pyarrow": ("halo_receiver.store.",),
    "pygal": ("halo_worker.report.charts",),
    "pydantic": ("halo_receiver.auth", "halo_receiver.config", "halo_receiver.config_loader",
                 "halo_worker.api.", "halo_worker.config", "halo_worker.config_alerts", "halo_worker.config_cluster",
                 "halo_worker.config_delivery",
                 "halo_worker.config_schedules", "halo_worker.config_sources", "halo_worker.links",
                 "halo_worker.report."),
    "pydantic_monty": ("halo_worker.rlm.interpreter.monty_interpreter",),
    "rich": ("halo_worker.cli.",),
    "slack_sdk": ("halo_worker.delivery.",),
    "standardwebhooks": ("halo_worker.delivery.",),
    "uvicorn": ("halo_worker.mcp_server.transport",),
    "uvloop": ("halo_receiver.__main__",),
    "zstandard": ("halo_receiver.files.streams", "halo_receiver.spool"),
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def libraries(path: Path) -> set[str]:
    """Third-party libraries that a file imports, anywhere in it; `google.x` and `opentelemetry.x` keep two words."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        if first not in sys.stdlib_module_names and first not in OURS:
            found.add(f"{first}.{rest.partition('.')[0]}" if first in ("google", "opentelemetry") else first)
    return found


IMPORTS = [(module, library) for module, path in modules() for library in sorted(libraries(path))]


@pytest.mark.parametrize(("module", "library"), IMPORTS)
def test_a_library_enters_through_its_own_door(module: str, library: str) -> None:
    doors = DOORS.get(library)
    assert doors is not None, f"{library} is a stranger: name the one room that may import it in DOORS"
    assert any(module == door or (door.endswith(".") and f"{module}.".startswith(door)) for door in doors), (
        f"{module} imports {library}, whose doors are {', '.join(doors)}"
    )


def test_importing_either_package_loads_no_library() -> None:
    """`halo --help` is quick, and a tool may look at a version without paying for DuckDB."""
    for package in OURS:
        assert libraries(REPOSITORY / package / "__init__.py") == set()


# Distribution → the name it is imported by, where they differ.
IMPORTED_AS = {
    "googleapis-common-protos": "google.rpc",
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health",
    "markdown-it-py": "markdown_it",
    "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter",
    "opentelemetry-proto": "opentelemetry.proto",
    "opentelemetry-sdk": "opentelemetry.sdk",
    "protobuf": "google.protobuf",
}

# Import → the dependency that always brings it.
COMES_WITH = {
    "mcp_types": "mcp",
    "uvicorn": "mcp",
    "markupsafe": "jinja2",
    "opentelemetry.context": "opentelemetry-sdk",
    "opentelemetry.trace": "opentelemetry-sdk",
    "opentelemetry.util": "opentelemetry-sdk",
}


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in ("mcp", "lake", "cluster") for line in project["optional-dependencies"][extra]),
    ]
    wanted = {line.split(">")[0].split("=")[0].split("[")[0].strip() for line in lines}
    names = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in wanted}
    imported = {library for _, library in IMPORTS}
    assert names - imported == set(), "declared, but imported nowhere"
    assert imported - names - COMES_WITH.keys() == set(), "imported, but not declared"


def test_the_stubs_run_with_the_oldest_protobuf_that_is_allowed() -> None:
    """Generated code refuses to run with an older library than its compiler's, and with one two versions newer."""
    stubs = (REPOSITORY / "halo_receiver" / "pb" / "segments_pb2.py").read_text(encoding="utf-8")
    [generated] = re.findall(r"Protobuf Python Version: ([\d.]+)", stubs)
    dependencies = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    [line] = [line for line in dependencies if line.startswith("protobuf")]
    assert line == f"protobuf>={generated},<{int(generated.split('.')[0]) + 2}"


def test_imports_form_no_circle() -> None:
    """Imports inside functions and for annotations count: modules that need each other cannot be read one by one."""
    graph = grimp.build_graph(*OURS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) - {module} for module in graph.modules}
    assert {module for module, _ in modules()} <= imports.keys()
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("circular import: " + " ← ".join(error.args[1]))


def test_layers_are_exhaustive() -> None:
    """Every new module is placed on a floor."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layered = {c["containers"][0]: c for c in contracts if c["type"] == "layers"}
    assert set(OURS) <= set(layered)
    assert all(contract["exhaustive"] for contract in layered.values())


_BARE_ARROW = re.compile(r"(?<![\w.])[\w.]+->>?'[^']*'\s*(=|<|>|IS\b|IN\b|LIKE\b|\|\|)")


@pytest.mark.parametrize("path", sorted({path for _, path in modules() if "->" in path.read_text(encoding="utf-8")}))
def test_json_arrows_stand_in_parentheses_beside_operators(path: Path) -> None:
    """DuckDB 1.5 binds `->>` weaker than comparisons, 2.0 stronger: only parentheses mean the same to both."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines if _BARE_ARROW.search(line)] == []
