"""The loader of all settings: defaults < halo.toml < environment < flags.

Every setting of `[section] name` is also `HALO_<SECTION>_<NAME>` in the environment, and
`[section.ENTRY] name` of a section with named entries is `HALO_<SECTION>_<ENTRY>_<NAME>`. Units are in the names.
This room alone reads settings from the file and the environment.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from halo_receiver.errors import ConfigError

DEFAULT_FILE = Path("halo.toml")
_EVERY_SETTING = "deploy/halo.toml shows every setting"


class Section(BaseModel):
    """The base of every section: nothing unknown, nothing changed after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# A section's model, or for sections with named entries ([schedules.daily]) a one-element list of the entries' model.
Sections = Mapping[str, type[Section] | list[type[Section]]]
Loaded = dict[str, Any]


def load(
    sections: Sections,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    others: tuple[str, ...] = (),
) -> Loaded:
    """Read the settings of `sections`; a section with named entries becomes a dict of them.

    `file` None means `halo.toml` where it exists; `others` are sections that may stand in the file but are not read.
    Raises ConfigError, with the nearest right name in the hint, on anything unknown or malformed.
    """
    environment = os.environ if environment is None else environment
    document = _read_file(file)
    for name in document:
        if name not in sections and name not in others:
            raise ConfigError(f"unknown section [{name}]", hint=_nearest(name, [*sections, *others]))
    loaded: Loaded = {}
    for name, model in sections.items():
        table = document.get(name, {})
        _refuse_unknown_variables(name, model, list(table) if isinstance(table, dict) else [], environment)
        if not isinstance(table, dict):
            raise ConfigError(f"[{name}] must be a table", hint=f"write '[{name}]' and its settings below it")
        given = dict((overrides or {}).get(name, {}))
        if isinstance(model, list):
            loaded[name] = _entries(name, model[0], table, environment)
        else:
            values = {**table, **_from_environment(name, model, environment), **given}
            loaded[name] = _validate(f"[{name}]", model, values)
    return loaded


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML. Raises tomllib.TOMLDecodeError alone, also for what tomllib leaves to Python's limits."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("values are nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise tomllib.TOMLDecodeError(str(error)) from None


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", hint="name another with --config, or leave it out") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="deploy/halo.toml shows every setting") from None


def _entries(
    section: str, model: type[Section], table: dict[str, Any], environment: Mapping[str, str]
) -> dict[str, Section]:
    entries = {}
    for entry, values in table.items():
        if not isinstance(values, dict):
            raise ConfigError(
                f"[{section}] has '{entry}' outside an entry",
                hint=f"write '[{section}.NAME]' and the settings below it",
            )
        merged = {**values, **_from_environment(f"{section}_{entry}", model, environment)}
        entries[entry] = _validate(f"[{section}.{entry}]", model, merged)
    return entries


def _from_environment(prefix: str, model: type[Section], environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        variable = _variable(prefix, name)
        if variable in environment:
            values[name] = _parse(variable, environment[variable], field.annotation)
    return values


# What Kubernetes sets for a service that is named halo-receiver.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


def _refuse_unknown_variables(
    section: str, model: type[Section] | list[type[Section]], entries: list[str], environment: Mapping[str, str]
) -> None:
    """A variable of a section that is no setting of it was misspelt: silence would be to run with the default."""
    fields = (model[0] if isinstance(model, list) else model).model_fields
    prefixes = [f"{section}_{entry}" for entry in entries] if isinstance(model, list) else [section]
    known = {_variable(prefix, field) for prefix in prefixes for field in fields}
    for name in sorted(environment):
        if not name.startswith(_variable(section, "")) or name in known or _SERVICE_LINK.search(name):
            continue
        if isinstance(model, list) and not any(name.startswith(_variable(prefix, "")) for prefix in prefixes):
            raise ConfigError(
                f"{name} belongs to no entry of [{section}]",
                hint=f"add [{section}.NAME] to halo.toml; there are: {', '.join(entries) or 'none'}",
            )
        raise ConfigError(f"{name} is no setting of [{section}]", hint=_nearest(name, sorted(known)))


def _variable(prefix: str, name: str) -> str:
    return f"HALO_{prefix}_{name}".upper().replace("-", "_")


def _parse(variable: str, text: str, annotation: Any) -> Any:
    """Read lists as comma separated or JSON, tables as JSON; the rest is left to the model."""
    kinds = typing.get_args(annotation) if typing.get_origin(annotation) in (types.UnionType, typing.Union) else ()
    origins = {typing.get_origin(kind) or kind for kind in (kinds or (annotation,))}
    if dict in origins or (list in origins and text.lstrip().startswith("[")):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{variable} is not JSON: {error}") from None
    if list in origins:
        items = [item.strip() for item in text.split(",") if item.strip()]
        # Set and empty is how a key looks that was forgotten: no key would mean open to everybody.
        return items or ([""] if typing.get_args(annotation) == (SecretStr,) else [])
    return text


def _validate(where: str, model: type[Section], values: dict[str, Any]) -> Section:
    for name in values:
        if name not in model.model_fields:
            raise ConfigError(f"{where} has no setting '{name}'", hint=_nearest(name, list(model.model_fields)))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden" and len(first["loc"]) > 1:
            raise ConfigError(f"{where} has no setting '{name}'", hint=_EVERY_SETTING) from None
        field = model.model_fields.get(str(first["loc"][0])) if first["loc"] else None
        hint = f"{name}: {field.description}" if field is not None and field.description else _EVERY_SETTING
        raise ConfigError(f"{where} {name}: {reason}" if name else f"{where} {reason}", hint=hint) from None


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(sorted(names))}"
