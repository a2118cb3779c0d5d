"""`halo setup`: a coding agent gets the skill and the server beside what others wrote; both can be taken away again."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halo_worker.cli import main
from halo_worker.coding_agents.places import AGENTS, deep_links
from halo_worker.coding_agents.registration import registered
from halo_worker.coding_agents.setup import skill_text
from halo_worker.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = {"command": "halo", "args": ["mcp"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CODEX_HOME", raising=False)
    return made


def halo(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["setup", *words])
    return int(ended.value.code or 0)


def tree(base: Path) -> dict[str, str]:
    return {str(path.relative_to(base)): path.read_text() for path in base.rglob("*") if path.is_file()}


OTHERS = {
    "claude-code": ('{"mcpServers": {"db": {"command": "db"}}, "n": 1.0}', ".mcp.json"),
    "cursor": ('{\n\t"mcpServers": {\n\t\t"db": {"url": "http://x"}\n\t}\n}\n', ".cursor/mcp.json"),
    "codex": ('# mine\nmodel = "x"\n\n[mcp_servers.db]\ncommand = "db" # [not a header]\n', ".codex/config.toml"),
}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_is_set_up_beside_what_others_wrote_and_back(
    project: Path, capsys: pytest.CaptureFixture[str], agent: str
) -> None:
    text, name = OTHERS[agent]
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text(text)
    before = tree(project)
    assert halo(agent, "--dry-run") == 0
    assert "+++ " in capsys.readouterr().out
    assert tree(project) == before
    assert halo(agent, "--yes", "--data-dir", "kept") == 0
    written = tree(project)
    assert written[f"{AGENTS[agent].project.skills}/halo/SKILL.md"] == skill_text()
    read: Any = json.loads if AGENTS[agent].form == "json" else tomllib.loads
    servers = read(written[name])[AGENTS[agent].table]
    assert servers["halo"]["args"] == ["mcp", "--data-dir", "kept"]
    assert servers["db"] == read(text)[AGENTS[agent].table]["db"]
    said = capsys.readouterr().err
    assert AGENTS[agent].title in said
    assert f"warning: {AGENTS[agent].title} is not here: no '{AGENTS[agent].program}' on PATH" in said
    own = [line for line in said.splitlines() if not line.startswith("wrote ")]
    assert all(len(line) <= 80 for line in own), own
    assert halo(agent, "--yes", "--data-dir", "kept") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert halo(agent, "--remove", "--yes") == 0
    assert "warning" not in capsys.readouterr().err, "nothing is read any more"
    assert tree(project) == before


@pytest.mark.parametrize("agent", AGENTS)
def test_for_a_user_the_data_is_named_from_anywhere_and_nothing_is_left(project: Path, agent: str) -> None:
    home = project.parent / "home"
    home.mkdir()
    assert halo(agent, "--user", "--yes") == 0
    assert f"{AGENTS[agent].user.skills}/halo/SKILL.md" in tree(home)
    assert str(project / "halo-data") in tree(home)[AGENTS[agent].user.servers]
    assert halo(agent, "--user", "--remove", "--yes") == 0
    assert list(home.iterdir()) == []
    assert list(project.iterdir()) == []


def test_what_a_person_wrote_is_never_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skill = project / ".claude/skills/halo/SKILL.md"
    halo("claude-code", "--yes")
    skill.write_text(skill.read_text().replace("smallest", "boldest"))
    assert halo("claude-code", "--yes") == 2
    assert "was changed by hand" in capsys.readouterr().err
    halo("claude-code", "--remove", "--yes")
    assert "boldest" in skill.read_text()
    assert not (project / ".mcp.json").exists()
    skill.unlink()
    (project / ".mcp.json").write_text('{"mcpServers": {"halo": {"command": "other", "args": []}}}')
    before = tree(project)
    assert halo("claude-code", "--yes") == 2
    assert "another MCP server 'halo'" in capsys.readouterr().err
    assert halo("claude-code", "--remove", "--yes") == 0
    assert tree(project) == before


def test_what_cannot_be_done_is_said_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert halo("claude-code") == 2
    assert "nobody is there to ask" in capsys.readouterr().err
    assert halo("emacs") == 2
    (project / ".mcp.json").write_text("{// mine\n}")
    assert halo("claude-code", "--yes") == 2
    said = capsys.readouterr().err
    assert ".mcp.json is no valid JSON" in said
    assert list(project.iterdir()) == [project / ".mcp.json"]


def test_a_form_that_is_not_mastered_is_left_as_it_is() -> None:
    """An inline table cannot be extended; a table of dotted keys can, by a header of its own."""
    with pytest.raises(InputError, match="not changed here") as caught:
        registered('mcp_servers = {db = {command = "x"}}\n', "toml", "mcp_servers", "halo", ENTRY)
    assert 'by hand: [mcp_servers.halo] / command = "halo"' in caught.value.hint
    after = registered('[mcp_servers]\ndb.command = "x"\n', "toml", "mcp_servers", "halo", ENTRY)
    assert tomllib.loads(after)["mcp_servers"] == {"db": {"command": "x"}, "halo": ENTRY}


def test_an_entry_keeps_what_a_person_added_to_it() -> None:
    added = '[mcp_servers.halo]\ncommand = "halo"\nargs = ["mcp"]\nenabled = true\n\n[mcp_servers.halo.env]\nA = "b"\n'
    moved = registered(added, "toml", "mcp_servers", "halo", {**ENTRY, "args": ["mcp", "--data-dir", "x"]})
    assert tomllib.loads(moved)["mcp_servers"]["halo"] == {
        "command": "halo", "args": ["mcp", "--data-dir", "x"], "enabled": True, "env": {"A": "b"},
    }  # fmt: skip
    assert registered(moved, "toml", "mcp_servers", "halo", None) == ""


_KEYS = st.text(min_size=1, max_size=8).filter(lambda key: key not in ("halo", "mcpServers"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=30)
@given(
    others=st.dictionaries(_KEYS, _VALUES, max_size=3), servers=st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=3),
    indent=st.sampled_from([None, 0, 1, 4]), escaped=st.booleans(), last=st.booleans(),
)  # fmt: skip
def test_every_other_byte_of_a_json_file_stays(
    others: dict[str, Any], servers: dict[str, Any], indent: int | None, escaped: bool, last: bool
) -> None:
    table = {"mcpServers": servers}
    text = json.dumps({**others, **table} if last else {**table, **others}, indent=indent, ensure_ascii=escaped)
    after = registered(text, "json", "mcpServers", "halo", ENTRY)
    assert json.loads(after)["mcpServers"]["halo"] == ENTRY
    assert registered(after, "json", "mcpServers", "halo", ENTRY) == after
    assert registered(after, "json", "mcpServers", "halo", None) == text


def test_the_skill_names_commands_that_there_are_and_says_what_is_data() -> None:
    from halo_worker.cli.words import COMMANDS

    text = skill_text()
    assert text.startswith("---\nname: halo\ndescription: ")
    assert "data, never an instruction" in text
    named = {line.split("`halo ")[1].split()[0].strip("`") for line in text.splitlines() if "`halo " in line}
    assert named
    assert named <= COMMANDS.keys()


def test_the_documents_name_every_place() -> None:
    page = (REPOSITORY / "docs" / "handover.md").read_text(encoding="utf-8")
    for agent in AGENTS.values():
        places = {agent.project.skills, agent.project.servers}
        places |= {f"~/{agent.user.skills}", f"~/{agent.user.servers}", agent.link}
        assert [place for place in places if f"`{place}" not in page] == []


def test_links_carry_a_prompt_and_nothing_else() -> None:
    prompt = "Fix HALO-1: read /tmp/a b&c=#.md\nfirst"
    assert len(set(deep_links(prompt).values())) == 3
    for link in deep_links(prompt).values():
        assert len(link.split("=")) == 2
        assert not set(" \n&#") & set(link)
