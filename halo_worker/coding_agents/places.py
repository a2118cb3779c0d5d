"""Where each coding agent looks: a table, each place with its source. Paths begin at the project or the home directory.

Sources, as of November 2026:
- Claude Code: code.claude.com/docs/en/skills ("Where skills live"), /mcp ("MCP installation scopes": `.mcp.json`; user
  scope is `mcpServers` of `~/.claude.json`), /deep-links (`q`, at most 5,000 characters).
- Cursor: cursor.com/docs/context/skills ("Skill directories"), cursor.com/docs/mcp ("Configuration locations"),
  cursor.com/docs/integrations/deeplinks (a link has at most 8,000 characters).
- Codex: developers.openai.com/codex/skills ("Where to save skills"), /codex/mcp (`config.toml`; a project's is read
  once the project is trusted; `CODEX_HOME` moves the user's), /codex/app/commands ("Deep links").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

SKILL = "halo/SKILL.md"  # below a directory of skills
SERVER = "halo"  # its name among the MCP servers


@dataclass(frozen=True, slots=True)
class Scope:
    """Where one scope of an agent is kept, relative to its base."""

    skills: str
    servers: str


@dataclass(frozen=True, slots=True)
class Agent:
    """One coding agent. `table` holds the MCP servers in its files; `link` is what a prompt is appended to."""

    title: str
    program: str
    directory: str  # of the user, there once it has run
    project: Scope
    user: Scope
    form: Literal["json", "toml"]
    table: str
    link: str
    home_variable: str = ""  # names the directory that takes the place of `directory`
    note: str = ""


AGENTS: Mapping[str, Agent] = {
    "claude-code": Agent(
        "Claude Code", "claude", ".claude",
        project=Scope(".claude/skills", ".mcp.json"), user=Scope(".claude/skills", ".claude.json"),
        form="json", table="mcpServers", link="claude-cli://open?q=",
        note="it asks once before it starts the MCP server of a project",
    ),
    "cursor": Agent(
        "Cursor", "cursor", ".cursor",
        project=Scope(".cursor/skills", ".cursor/mcp.json"), user=Scope(".cursor/skills", ".cursor/mcp.json"),
        form="json", table="mcpServers", link="cursor://anysphere.cursor-deeplink/prompt?text=",
        note="switch the MCP server on in its settings if it does not come up",
    ),
    "codex": Agent(
        "Codex", "codex", ".codex",
        project=Scope(".agents/skills", ".codex/config.toml"), user=Scope(".agents/skills", ".codex/config.toml"),
        form="toml", table="mcp_servers", link="codex://new?prompt=", home_variable="CODEX_HOME",
        note="it reads a project's config.toml once the project is trusted",
    ),
}  # fmt: skip


def deep_links(prompt: str) -> dict[str, str]:
    """Return, by the agent's title, links that open it with a prompt; a person reads it there before it is sent."""
    return {agent.title: agent.link + quote(prompt, safe="") for agent in AGENTS.values()}
