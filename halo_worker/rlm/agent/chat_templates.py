"""Tool calls as chat templates write them in text, where a server did not read them: found, and taken out.

Each template is a row: a pattern with the groups `name` and `body`, or `body` alone where it holds the name. A body is
JSON, or parameters that `pairs` finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_QUOTED = r"(?<![`\"'\w])"  # not a quotation


@dataclass(frozen=True, slots=True)
class Template:
    """How one family of models writes a call."""

    call: re.Pattern[str]
    pairs: re.Pattern[str] | None = None


def _template(call: str, pairs: str | None = None) -> Template:
    return Template(re.compile(_QUOTED + call, re.DOTALL), re.compile(pairs, re.DOTALL) if pairs else None)


TEMPLATES = (
    # Qwen3-Coder; with JSON inside Llama 3.1
    _template(
        r"<function=(?P<name>[\w.:-]+)>\s*(?P<body>.*?)\s*(?:</function>|(?=<function=)|</tool_call>|\Z)",
        r"<parameter=([\w.-]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)",
    ),
    # Claude, MiniMax; DeepSeek V3.2
    _template(
        r"<(?:｜DSML｜|\w+:)?invoke name=\"(?P<name>[^\"]+)\"[^>]*>\s*(?P<body>.*?)(?:</(?:｜DSML｜|\w+:)?invoke>|\Z)",
        r"<(?:｜DSML｜|\w+:)?parameter name=\"([^\"]+)\"[^>]*>(.*?)(?:</(?:｜DSML｜|\w+:)?parameter>|\Z)",
    ),
    # GLM
    _template(
        r"<tool_call>\s*(?P<name>[\w.-]+)\s*(?P<body><arg_key>.*?)(?:</tool_call>|\Z)",
        r"<arg_key>\s*(.*?)\s*</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)",
    ),
    # DeepSeek R1, V3 and V3.1
    _template(
        r"<[｜|]tool[▁_]call[▁_]begin[｜|]>\s*(?:function\s*<[｜|]tool[▁_]sep[｜|]>)?(?P<name>[\w.-]+)"
        r"\s*(?:<[｜|]tool[▁_]sep[｜|]>)?\s*(?:```(?:json)?)?\s*(?P<body>\{.*?)\s*(?:```)?\s*"
        r"(?:<[｜|]tool[▁_]call[▁_]end[｜|]>|\Z)"
    ),
    # Kimi
    _template(
        r"<\|tool_call_begin\|>\s*(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>"
        r"\s*(?P<body>.*?)\s*(?:<\|tool_call_end\|>|\Z)"
    ),
    # Mistral: the name before the arguments since its tokenizer 11, a list of objects before
    _template(
        r"\[TOOL_CALLS\]\s*(?P<name>[A-Za-z_][\w.-]*)\s*(?:\[CALL_ID\][\w-]*)?\s*(?:\[ARGS\])?\s*"
        r"(?P<body>\{.*?)\s*(?=\[TOOL_CALLS\]|</s>|\Z)"
    ),
    _template(r"\[TOOL_CALLS\]\s*(?P<body>[\[{].*?)\s*(?:</s>|\Z)"),
    # gpt-oss
    _template(
        r"(?:<\|channel\|>\w+ +)?to=(?:functions\.)?(?P<name>[\w.-]+)[^{]*?<\|message\|>(?P<body>.*?)"
        r"(?:<\|call\|>|<\|end\|>|\Z)"
    ),
    # Hermes, Qwen, Nemotron, xLAM
    _template(r"<(?P<tag>tool_calls?|function_calls?|tool_use|TOOLCALL)>\s*(?P<body>.*?)\s*(?:</(?P=tag)>|\Z)"),
    # Llama 3 and 4, Cohere, Granite and Phi, InternLM
    _template(r"<\|python_(?:tag|start)\|>\s*(?P<body>.*?)\s*(?:<\|(?:python_end|eom_id|eot_id|eom|eot)\|>|\Z)"),
    _template(r"<\|START_ACTION\|>\s*(?P<body>.*?)\s*(?:<\|END_ACTION\|>|\Z)"),
    _template(r"<\|tool_call\|>\s*(?P<body>.*?)\s*(?:<\|/tool_call\|>|\Z)"),
    _template(r"<\|plugin\|>\s*(?P<body>.*?)\s*(?:<\|action_end\|>|\Z)"),
    _template(r"functools(?P<body>\[\s*\{.*?)\s*\Z"),
)
# What only a template writes. A text that a person reads ends before it.
_MARK = re.compile(
    _QUOTED + r"(?:</?(?:tool_calls?|function_calls?|tool_use|TOOLCALL|arg_key|arg_value)>|</?function[=>]|"
    r"</?parameter[=>]|<(?:｜DSML｜|\w+:)?(?:invoke|parameter|function_calls)\b|</?[｜|]DSML[｜|]|\[TOOL_CALLS\]|"
    r"<[｜|](?:tool[▁_]|python_|START_ACTION|action_start|plugin|channel|start|call|message)|functools\[\s*\{|"
    r"<start_function_call>|(?:```\w*\s*)?\{\s*\"(?:name|tool|tool_name|function)\"\s*:\s*\"[\w.]+\"\s*,\s*"
    r"\"(?:arguments|parameters|args)\")"
)


def calls(text: str) -> Iterator[tuple[str | None, str]]:
    """Yield the calls of the first template that a text is written in: (name, arguments as JSON text).

    The name is None where the body holds it, as JSON or as code.
    """
    for template in TEMPLATES:
        found = list(template.call.finditer(text))
        for match in found:
            groups = match.groupdict()
            yield groups.get("name"), _arguments(groups["body"], template.pairs)
        if found:
            return


def _arguments(body: str, pairs: re.Pattern[str] | None) -> str:
    if pairs is None or body.startswith("{"):
        return body
    return json.dumps(dict(pairs.findall(body)))


def readable(text: str) -> str:
    """Return what of a text is for a person to read: what stands before the first mark of a call."""
    mark = _MARK.search(text)
    return (text[: mark.start()] if mark else text).strip()
