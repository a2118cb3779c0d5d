"""What the API's types mean as halo's own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halo_worker import config, config_schedules
from halo_worker.api.types import EngineConfig, ModelConfig
from halo_worker.errors import ConfigError, InputError

TracePaths = str | Path | Sequence[str | Path]


def overrides_of(engine: EngineConfig) -> dict[str, dict[str, Any]]:
    """Return the settings that an EngineConfig stands for; what it leaves open stays with file and environment."""
    root, provider = engine.root_agent, engine.model_provider
    sections = {
        "model": {
            **_asked(root.model),
            "sub_model": (engine.synthesis_model or engine.subagent.model).name,
            "base_url": provider.base_url,
            "api_key": provider.api_key,
            "headers": provider.default_headers,
            "api": provider.api,
            "refusal_retries": root.refusal_retries,
        },
        "budget": {
            "max_turns": root.maximum_turns,
            "max_depth": engine.maximum_depth,
            "max_parallel": engine.maximum_parallel_subagents,
        },
        "analysis": {"repo_path": engine.repo_path, "context": engine.dataset_context, "route": "loop"},
    }
    return {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in sections.items()
    }


def settings_of(
    engine: EngineConfig, *, data_dir: Path | None = None, environment: Mapping[str, str] | None = None
) -> config.Settings:
    """Read the settings with an EngineConfig's on top. Raises ConfigError when no model can be reached."""
    overrides = overrides_of(engine)
    if data_dir is not None:
        overrides["store"] = {"data_dir": data_dir}
    current = config.load_settings(overrides=overrides, environment=environment)
    if not (current.model.api_key or current.model.base_url):
        raise ConfigError(
            "no model can be reached: neither a key nor a base URL is set",
            hint="set OPENAI_API_KEY, or model_provider=ModelProviderConfig(base_url=…) for a local model",
        )
    limits = {
        "max_tokens": engine.maximum_tokens,
        "max_cost": engine.maximum_cost_usd,
        "max_seconds": engine.maximum_seconds,
    }  # here None means no limit, and not that a file decides
    budget = config_schedules.BudgetConfig.model_validate({**current.budget.model_dump(), **limits})
    return config.Settings(**{name: getattr(current, name) for name in current.__slots__} | {"budget": budget})


def _asked(model: ModelConfig) -> dict[str, Any]:
    return {
        "name": model.name, "temperature": model.temperature, "max_output_tokens": model.maximum_output_tokens,
        "parallel_tool_calls": model.parallel_tool_calls, "reasoning_effort": model.reasoning_effort,
    }  # fmt: skip


def sources(trace_paths: TracePaths) -> tuple[tuple[str, ...], Path | None]:
    """Return (files, data directory): one of the two. Raises InputError, or ValueError where nothing is named."""
    paths = [trace_paths] if isinstance(trace_paths, str | Path) else list(trace_paths)
    if not paths:
        raise ValueError("trace_paths is empty: name a file of traces, or a data directory")
    first = Path(paths[0])
    if len(paths) == 1 and (first / "segments").is_dir():
        return (), first
    absent = [str(path) for path in paths if not Path(path).exists()]
    if absent:
        raise InputError(f"there is no {absent[0]}", hint="trace_paths are files of traces, or one data directory")
    return tuple(str(path) for path in paths), None
