"""Cases written for the tools that run them: JSON lines, pytest, promptfoo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from halo_worker.cases import templates
from halo_worker.display import one_line
from halo_worker.errors import InputError

Form = Literal["jsonl", "pytest", "promptfoo"]
Cases = Sequence[Mapping[str, Any]]

CASES_FILE = "cases.jsonl"
TITLE_CHARACTERS = 100


def lines(cases: Cases) -> str:
    """Write one case a line."""
    return "".join(f"{json.dumps(case, ensure_ascii=False)}\n" for case in cases)


def write(form: Form, cases: Cases, directory: Path) -> list[Path]:
    """Write cases into a directory; return the files. What a person edits there is not written over.

    Raises InputError when the disk refuses.
    """
    issue_id, title = str(cases[0]["issue_id"]), one_line(str(cases[0]["title"]), TITLE_CHARACTERS)
    files = {CASES_FILE: lines(cases)}
    kept: dict[str, str] = {}
    if form == "pytest":
        name = issue_id.lower().replace("-", "_")
        files[f"test_{name}.py"] = templates.PYTEST.replace("@ISSUE@", issue_id).replace("@TITLE@", _comment(title))
        kept["conftest.py"] = templates.CONFTEST
    if form == "promptfoo":
        files["promptfooconfig.json"] = json.dumps(promptfoo(cases), ensure_ascii=False, indent=2) + "\n"
        files["halo_promptfoo.py"] = templates.PROMPTFOO
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
        for name, text in kept.items():
            if not (directory / name).exists():
                (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the cases cannot be written to {directory}: {error.strerror}", hint="--out DIR") from None
    return [directory / name for name in (*files, *kept)]


def _comment(text: str) -> str:
    """Write text of a stranger so that it stays inside of a docstring."""
    return text.replace("\\", "/").replace('"', "'")


def promptfoo(cases: Cases) -> dict[str, Any]:
    """Return a promptfoo configuration: the agent as a Python provider, a test a case, our rule as the assertion."""
    return {
        "description": one_line(f"{cases[0]['issue_id']}: {cases[0]['title']}", 200),
        "prompts": ["{{input}}"],
        "providers": [{"id": "file://halo_promptfoo.py", "label": "agent"}],
        "tests": [
            {
                "description": str(case["id"]),
                "vars": {"input": _literal(str(case["input"]["text"])), "case_id": str(case["id"])},
                "assert": [{"type": "python", "value": "file://halo_promptfoo.py:get_assert"}],
                "metadata": {"issue_id": case["issue_id"], "kind": case["kind"]},
            }
            for case in cases
        ],
    }


def _literal(text: str) -> str:
    """Keep promptfoo from reading templates and files in what an agent was given."""
    text = text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")
    return f" {text}" if text.startswith("file://") else text
