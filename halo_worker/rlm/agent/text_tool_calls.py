"""Actions in plain text, for models that have no native tool calls: fenced code, JSON that names a tool, markup.

Only what the model itself wrote is ever read here, never the text of a result.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from halo_worker.rlm.agent import chat_templates
from halo_worker.rlm.agent.builtin_tools import FINAL_ANSWER, RUN_CODE
from halo_worker.rlm.lenient_json import extract_json
from halo_worker.rlm.messages import ToolCall

MAX_CALLS = 64
CODE_CHARACTERS = 50_000  # of text that is looked at for being code

_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
_BUILT_IN = re.compile(r"\A([A-Za-z_]\w*)\.call\(")  # how Llama writes the call of a tool that it was trained on
_CODE = frozenset({"python", "py", "python3", "repl", "run_code", "code", "tool_code", "ipython", "pycon", "monty"})
_JSON = frozenset({"json", "json5", "jsonc", "tool", "tool_call", "tool_calls", "function", "xml"})
_ROW = re.compile(r"(?<=\})\s*[;\n]\s*(?=\{\s*\"(?:name|type|function)\")")
_NAMES = ("name", "tool", "function", "tool_name", "action", "function_name", "recipient_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "action_input", "tool_input", "params", "kwargs")


def parse_tool_calls(
    text: str, tools: Collection[str], final_answer: Mapping[str, Any], *, code: bool = True
) -> list[tuple[str, str]]:
    """Return the actions of a reply as (tool name, arguments as JSON text), in order.

    Understood: the markup of chat templates (`chat_templates`); fenced or bare JSON
    `{"name": …, "arguments": {…}}`, `{"tool_name": {…}}`,
    or the bare arguments of final_answer; a fenced block of Python, whatever it is called; a bare call such as
    `final_answer(answer="…")`. `code` False leaves out what may as well be an illustration: Python.
    """
    known = set(tools)
    found: list[tuple[str, str]] = []
    for name, body in chat_templates.calls(text):
        if name is not None:
            found.append((name, body))
        else:
            found += _calls_in(body, known, final_answer) or _code_in(body, known, code=code)
    if found:
        return found[:MAX_CALLS]
    blocks = list(_FENCE.finditer(text))
    python: list[str] = []
    for match in blocks:
        language, block = match.group(2).lower(), match.group(3).strip()
        calls = _calls_in(block, known, final_answer) if language in _JSON or block[:1] in ("{", "[") else []
        if calls:
            found += calls
        elif code and (language in _CODE or (not language and _is_code(block, known))):
            python.append(_without_prompts(block))
    if python:
        found.append((RUN_CODE, json.dumps({"code": "\n\n".join(python)})))
    if not found and not blocks:
        bare = text.strip()
        if bare[:1] in ("{", "["):
            found = _calls_in(bare, known, final_answer) or _code_in(bare, known, code=False)
        elif code and _is_call(bare, known):
            found = [(RUN_CODE, json.dumps({"code": bare}))]
    return found[:MAX_CALLS]


def _calls_in(text: str, known: set[str], final_answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tool calls in JSON text: one, a list of them, or several in a row."""
    found = []
    for part in _ROW.split(text):
        try:
            value = extract_json(part)
        except ValueError:
            continue
        calls = [_call(one, known, final_answer) for one in (value if isinstance(value, list) else [value])]
        found += [call for call in calls if call is not None]
    return found


def _code_in(text: str, known: set[str], *, code: bool) -> list[tuple[str, str]]:
    """Calls written as Python: a list of them (Llama 4), or code to be run."""
    try:
        tree = ast.parse(text, mode="eval").body if len(text) <= CODE_CHARACTERS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    listed = tree.elts if isinstance(tree, ast.List) else []
    calls = [_literal_call(one, known) for one in listed]
    if calls and None not in calls:
        return [call for call in calls if call is not None]
    text = _BUILT_IN.sub(r"\1(", text)
    return [(RUN_CODE, json.dumps({"code": text}))] if code and text and _is_code(text, known) else []


def _literal_call(node: ast.expr, known: set[str]) -> tuple[str, str] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in known or node.args:
        return None
    try:
        given = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
        return node.func.id, json.dumps(given)
    except (ValueError, TypeError):
        return None


def _call(value: Any, known: set[str], final_answer: Mapping[str, Any]) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):  # the shape of the API itself
        value = value["function"]
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is not None and (name in known or any(key in value for key in _ARGUMENTS)):
        given = next((value[key] for key in _ARGUMENTS if key in value), None)
        if given is None:
            given = {key: one for key, one in value.items() if key not in _NAMES}
        return name, given if isinstance(given, str) else json.dumps(given)
    if len(value) == 1 and (only := next(iter(value))) in known:
        given = value[only]
        return only, given if isinstance(given, str) else json.dumps(given)
    required = final_answer.get("required") or ["answer"]
    if FINAL_ANSWER in known and all(key in value for key in required):
        return FINAL_ANSWER, json.dumps(value)
    return None


def _is_code(block: str, known: set[str]) -> bool:
    """Whether an unnamed block is Python that does something, rather than a quotation."""
    if len(block) > CODE_CHARACTERS:
        return False
    try:
        tree = ast.parse(_without_prompts(block))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    doing = (ast.Call, ast.Assign, ast.For, ast.Import, ast.ImportFrom, ast.FunctionDef)
    names = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return bool(names & (known | {"print"})) or sum(isinstance(node, doing) for node in ast.walk(tree)) >= 2


def _is_call(text: str, known: set[str]) -> bool:
    """Whether the whole text is one call of a known function, written as Python."""
    if len(text) > CODE_CHARACTERS or not re.match(r"[A-Za-z_]\w*\s*\(", text):
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    only = tree.body[0] if len(tree.body) == 1 else None
    call = only.value if isinstance(only, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in known


def _without_prompts(block: str) -> str:
    """Code as typed into a shell, without the shell's marks."""
    lines = block.splitlines()
    if not any(line.startswith(">>> ") for line in lines):
        return block
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))


def with_ids(calls: list[tuple[str, str]], start: int) -> tuple[ToolCall, ...]:
    """Give actions the ids that native calls have."""
    return tuple(ToolCall(f"text_{start + index}", name, given) for index, (name, given) in enumerate(calls))
