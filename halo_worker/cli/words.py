"""The words of the command line: every command, where it lives, and what people type instead."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One command: the module below `halo_worker.cli` that holds it, loaded when it is asked for, and its summary."""

    module: str
    summary: str


COMMANDS = {
    "init": Entry("init", "write a commented halo.toml from three questions"),
    "up": Entry("serve", "receiver, worker and page together on one data directory"),
    "receive": Entry("serve", "the receiver alone: OTLP in, spans on disk"),
    "work": Entry("serve", "the scheduled worker alone"),
    "page": Entry("page", "reports, issues and traces in the browser; part of 'halo up'"),
    "status": Entry("status", "what runs, what arrived last, the next report, on one screen"),
    "schedules": Entry("schedules", "when analyses run, last and next; 'run NAME' runs one now"),
    "run": Entry("analyse", "one analysis now, of the store or of trace files"),
    "import": Entry("sources", "trace files and sessions of coding agents into the store"),
    "pull": Entry("sources", "traces and scores out of Langfuse, Phoenix or LangSmith"),
    "demo": Entry("analyse", "a fleet of agents, received, analysed, reported; needs no key"),
    "reports": Entry("results", "the published reports, or one of them"),
    "open": Entry("results", "open a report in the browser"),
    "issues": Entry("issues", "failure modes over time; mute, resolve, reopen"),
    "verify": Entry("verify", "did a fix work: an issue before and after a change"),
    "cases": Entry("cases", "regression cases from failing traces: jsonl, pytest, promptfoo"),
    "setup": Entry("setup", "hand issues to a coding agent: claude-code, cursor or codex"),
    "mcp": Entry("mcp", "issues and traces for coding agents, over stdio or HTTP"),
    "alerts": Entry("alerts", "what was told between reports; 'test NAME' rehearses one"),
    "deliver": Entry("results", "send a report to the sinks that have not taken it"),
    "traces": Entry("traces", "list traces, filtered by agent, user, tool, text, …"),
    "tail": Entry("tail", "traces as they come, until Ctrl-C"),
    "trace": Entry("data", "one trace as a tree"),
    "query": Entry("data", "one SELECT over spans, traces and logs"),
    "lake": Entry("lake", "one store of many hosts: init, status, publish, merge, retain"),
    "delete": Entry("delete", "remove a person's data; says first what it would"),
    "detectors": Entry("detectors", "the rules: list, show, test, and write your own"),
    "doctor": Entry("doctor", "what is set up, reachable, and supported by the captured spans"),
    "ping": Entry("ping", "whether the receiver takes requests, for health checks"),
    "completion": Entry("init", "completion of commands and options for bash, zsh or fish"),
}

# What people type who know other tools.
SYNONYMS = {
    "alarms": "alerts", "alert": "alerts", "analyse": "run", "analyze": "run", "ask": "run", "check": "doctor",
    "config": "init", "configure": "init", "dashboard": "page", "erase": "delete", "errors": "issues",
    "failures": "issues", "fetch": "pull", "findings": "issues", "follow": "tail", "forget": "delete", "health": "ping", "ingest": "import",
    "list": "traces", "live": "tail", "load": "import", "log": "traces", "logs": "traces", "ls": "traces",
    "ps": "status", "purge": "delete", "remove": "delete", "rm": "delete", "search": "traces", "serve": "up",
    "server": "up", "show": "trace", "spans": "query", "sql": "query", "start": "up", "stats": "status", "ui": "page",
    "view": "trace", "watch": "tail", "web": "page", "worker": "work",
}  # fmt: skip

# What people type for what no command does: how it is done.
ADVICE = {
    "agents": "'halo query \"SELECT DISTINCT agent_name FROM spans\"', then 'halo traces --agent NAME'",
    "backup": "copy the data directory, its spool first: 'Back up and restore' in docs/operate.md",
    "connect": "point an OTLP exporter at 127.0.0.1:4317 ('halo up'); docs/connect.md says how for each SDK",
    "cost": "'halo query \"SELECT model, sum(cost_usd) FROM spans WHERE span_type = 'llm' GROUP BY 1\"'",
    "export": "'halo query SQL --format jsonl' writes spans, 'halo cases ISSUE' failing traces, 'halo reports ID' a report",
    "keys": "[auth] in halo.toml holds them; docs/operate.md makes one and says how to rotate it",
    "restart": "stop it (Ctrl-C, SIGTERM or your service manager), then 'halo up': what was acknowledged is kept",
    "restore": "copy the data directory back, then 'halo up'; 'halo doctor' says what it found",
    "sessions": "'halo traces --session ID' lists the traces of one",
    "stop": "Ctrl-C, SIGTERM or your service manager: halo stores what it acknowledged, and exits",
    "update": "'pip install --upgrade halo-otel', then stop and start it",
    "upgrade": "'pip install --upgrade halo-otel', then stop and start it: clients retry meanwhile",
}

NEAREST = 3  # commands named for an unknown word
_OF_THE_GROUP = ("--data-dir", "--config")
_PATH_CHARACTERS = frozenset("/\\.*?[")


def first_word(given: Sequence[str]) -> int:
    """Return the place of the first word that is no option of the group; len(given) where there is none."""
    place = 0
    while place < len(given):
        if given[place] in _OF_THE_GROUP:
            place += 2
        elif given[place].startswith(tuple(f"{name}=" for name in _OF_THE_GROUP)):
            place += 1
        else:
            break
    return min(place, len(given))


def arguments(given: list[str]) -> list[str]:
    """Put `run` before the words of HALO's published command line, which has no commands.

    `help [COMMAND]` and `version` are what people type for `[COMMAND] --help` and `--version`.
    """
    place = first_word(given)
    before, rest = given[:place], given[place:]
    if not rest or rest[0] in ("-h", "--help", "--version") or rest[0] in COMMANDS:
        return given
    if rest[0] == "help" and not Path("help").exists():
        return [*before, *rest[1:2], "--help"]
    if (rest == ["version"] and not Path("version").exists()) or rest in (["-v"], ["-V"]):
        return [*before, "--version"]
    return [*before, "run", *rest]


def unknown(given: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the first word and the commands nearest to it, where it is neither a command nor the name of a file.

    With words after it that only a question to a file has (`-p`), a file was meant.
    """
    place = first_word(given)
    word = given[place] if place < len(given) else ""
    is_file = word.startswith("-") or _PATH_CHARACTERS & set(word) or Path(word).exists()
    if not word or word in COMMANDS or is_file:
        return None
    return word, nearest_commands(word)


def hint_for(word: str, near: Sequence[str]) -> str:
    """Say what was meant by a word that is no command, or how it is done without one."""
    if word.lower() in ADVICE:
        return ADVICE[word.lower()]
    named = " or ".join(f"'halo {name}'" for name in near)
    return f"did you mean {named}?" if near else "'halo --help' lists the commands"


def nearest_commands(word: str) -> list[str]:
    """Return the commands that a word may have meant, the likeliest first; none where it is like nothing."""
    known = [*COMMANDS, *SYNONYMS]
    close = difflib.get_close_matches(word.lower(), known, n=NEAREST, cutoff=0.6)
    begins = [name for name in known if len(word) > 1 and name.startswith(word.lower())]
    meant = [SYNONYMS.get(name, name) for name in (word.lower(), *close, *begins) if name in known]
    return list(dict.fromkeys(meant))[:NEAREST]
