"""The pages of reference, written from the code whenever the site is built (a hook of mkdocs.yml).

Commands come from Click, settings from their models, columns from the schema (their meaning from columns.toml),
detectors from their units, the report from its JSON Schema. No copy of them lies in the repository, so none is stale.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import DETECTORS
from halo_worker.cli import COMMANDS, group
from halo_worker.config import SECTIONS
from halo_worker.report.model import schema

DOCS = Path(__file__).resolve().parent
WIDTH = 96  # characters of a command's help


def commands() -> str:
    """Every command with its help, as it prints it."""
    lines = [
        "# Commands",
        "",
        "`halo-otel` is the same program under a second name: HALO's own package installs a `halo`, too.",
    ]
    lines += ["", "stdout is data, stderr is talk. Exit codes: 0 a verified report was published, or there was nothing to",
              "report; 1 the run failed, or the question (`-p`) was not answered; 2 wrong usage or configuration; 3 `--fail-on`",
              "matched.", ""]  # fmt: skip
    lines += ["| command | does |", "|---|---|"]
    lines += [f"| [`halo {name}`](#halo-{name}) | {entry.summary} |" for name, entry in COMMANDS.items()]
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        context = click.Context(
            command,
            info_name=f"halo {name}",
            max_content_width=WIDTH,
            terminal_width=WIDTH,
            help_option_names=["-h", "--help"],
        )
        lines += ["", f"## halo {name}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Every setting with its default."""
    lines = ["# Settings", "", "Defaults < `halo.toml` < environment < flags. Each is also `HALO_<SECTION>_<NAME>` in the",
             "environment; lists are separated by commas. How to use them: [Settings](../settings.md).", ""]  # fmt: skip
    for name, model in SECTIONS.items():
        many = isinstance(model, list)
        kind: type[BaseModel] = model[0] if isinstance(model, list) else model
        lines += [f"## [{name}.NAME]" if many else f"## [{name}]", "", *_first_paragraph(kind), ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        for setting, field in kind.model_fields.items():
            default = "required" if field.is_required() else f"`{_toml(field.get_default(call_default_factory=True))}`"
            lines.append(f"| `{setting}` | {default.replace('`none`', 'none')} | {_cell(field.description or '')} |")
        lines.append("")
    return "\n".join(lines)


def _first_paragraph(kind: type[BaseModel]) -> list[str]:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    says = text.partition(": ")[2] if text.startswith("`[") else text
    return [says[:1].upper() + says[1:]]


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return json.dumps(value if not isinstance(value, Path) else str(value), ensure_ascii=False)


def columns() -> str:
    """Every column of the three views."""
    says = tomllib.loads((DOCS.parent / "halo_receiver" / "store" / "columns.toml").read_text(encoding="utf-8"))
    lines = ["# Columns", "", *says.pop("about").strip().splitlines(), ""]
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "segments").mkdir()
        with Reader.open(Path(directory)) as reader:
            for view, meaning in says.items():
                rows = reader.query(f"DESCRIBE {view}")
                lines += [f"## {view}", "", meaning["about"], "", "| column | type | meaning |", "|---|---|---|"]
                lines += [f"| `{row['column_name']}` | {_cell(_short(row['column_type']))} | {meaning[row['column_name']]} |"
                          for row in rows]  # fmt: skip
                lines.append("")
    return "\n".join(lines)


def _short(kind: str) -> str:
    return "list of struct" if kind.startswith("STRUCT(") and kind.endswith("[]") else kind


def detectors() -> str:
    """Every detector: what it finds, by which definition, and where it is wrong."""
    lines = ["# Catalogue of detectors", "", f"{len(DETECTORS)} detectors run in every window, without a model. Each names spans by a",
             "definition; a report shows the definition, the SQL is in `report.json` (`detector.sql`). Which of them cannot see",
             "what your telemetry leaves out is told by `halo doctor`. A detector whose definition changes gets a new version,",
             "and rates are not compared across it.", "", "| detector | category |", "|---|---|"]  # fmt: skip
    lines += [f"| [`{unit.name}`](#{unit.name}) | {unit.category} |" for unit in DETECTORS]
    for unit in DETECTORS:
        lines += ["", f"## {unit.name}", "", f"{unit.definition.rstrip('.')}.", ""]
        lines += [f"- Category: {unit.category}; confidence {unit.confidence:.2f}; version {unit.version}"]
        lines += [f"- Limits: {_cell(unit.limits)}"] if unit.limits else []
        lines += [f"- Source: {_cell(unit.source)}"] if unit.source else []
        lines += [f"- Fix: {_cell(unit.fix)}"]
    return "\n".join(lines) + "\n"


def report_schema() -> str:
    """Every field of report.json."""
    document = json.loads(schema())
    lines = ["# report.json", "", "The schema is `proto/report.schema.json`, generated from the same model. Fields may be added;",
             "what is there keeps its meaning within one `report_version`.", ""]  # fmt: skip
    models = {document.get("title", "Report"): document, **document.get("$defs", {})}
    for name, model in models.items():
        if "properties" not in model:
            continue
        lines += [f"## {name}", "", _cell(" ".join(model.get("description", "").split())), ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        required = set(model.get("required", ()))
        for field, part in model["properties"].items():
            kind = _kind(part) + ("" if field in required else ", optional")
            lines.append(f"| `{field}` | {_cell(kind)} | {_cell(part.get('description', ''))} |")
        lines.append("")
    return "\n".join(lines)


def _kind(part: dict[str, Any]) -> str:
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in part:
        return " or ".join(_kind(one) for one in part["anyOf"])
    if part.get("type") == "array":
        return f"list of {_kind(part.get('items', {}))}"
    if "enum" in part:
        return " / ".join(f"`{value}`" for value in part["enum"])
    return str(part.get("type", "any"))


def _cell(text: str) -> str:
    """Write text into one cell of a table: placeholders such as <n> are no tags there."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/settings.md": settings,
    "reference/columns.md": columns,
    "reference/report-json.md": report_schema,
    "reference/detectors.md": detectors,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/; called by MkDocs."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files
