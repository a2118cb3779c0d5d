"""The part of `docs/detectors.md` that is made from files: analysis tables, recognisers, detectors."""

from __future__ import annotations

from collections.abc import Iterator

from halo_worker.analysis import lexicon
from halo_worker.analysis.detectors import rules, tables
from halo_worker.analysis.lexicon import recognisers

BEGINS = "<!-- from here on: python -m halo_worker.analysis.detectors.reference docs/detectors.md -->\n"


def render() -> str:
    """Return the part that is made from the files."""
    return "\n".join([*_tables(), *_recognisers(), *_detectors()]) + "\n"


def _tables() -> Iterator[str]:
    yield "\n## The analysis tables\n"
    for table in tables.known().values():
        yield f"### {table.name}\n\n{table.about}\n\n| column | |\n|---|---|"
        yield from (f"| `{name}` | {meaning} |" for name, meaning in table.columns.items())
        yield ""


def _recognisers() -> Iterator[str]:
    yield "## Recognisers\n\nMacros over a text, true where it has the form; NAME_text(text) is what matched first.\n"
    yield "| macro | recognises, for example | languages |\n|---|---|---|"
    for one in recognisers.recognisers():
        languages = sorted({form.language for form in one.forms if form.language}) or ["any"]
        shown = " ".join(next((text for text in one.forms[0].examples if text), "").split()).replace("|", "\\|")
        yield f"| `{one.name}` | {shown} | {', '.join(languages)} |"
    classes = ", ".join(name for name, _ in recognisers.error_classes())
    yield f"\n`error_class(text)` names the class of an error: {classes}, other."
    number = len(lexicon.entries("failed_result"))
    yield f"`starts_as_failed`, `ends_as_failed` and `speaks_of_failure` are of the {number} forms of failed results."
    yield "`inspects(tool)` says of a tool's name that it reads what may speak of failures: a log, a test.\n"


def _detectors() -> Iterator[str]:
    yield "## halo's own\n\n| detector | category | finds |\n|---|---|---|"
    for unit in rules.built_in():
        categories = ", ".join(sorted({unit.category, *unit.categories.values()}))
        yield f"| `{unit.name}` | {categories} | {' '.join(unit.definition.split())} |"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    file = Path(sys.argv[1])
    file.write_text(file.read_text(encoding="utf-8").split(BEGINS)[0] + BEGINS + render(), encoding="utf-8")
