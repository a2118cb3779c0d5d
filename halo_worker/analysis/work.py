"""What one analysis is given, the models and limits it works with, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from halo_worker.config import AnalysisConfig, ModelConfig
from halo_worker.config_schedules import BudgetConfig
from halo_worker.report.issue import Issue
from halo_worker.report.labelled import Label
from halo_worker.rlm.agent.session import Event, Session
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.openai_model import OpenAIModel
from halo_worker.window import Window


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, for a person who waits."""

    doing: str
    turns: int
    max_turns: int
    findings: int
    tokens: int
    cost_usd: float | None
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """What one analysis is given. `messages`: a conversation to go on with, of which a leading system message takes
    the place of ours. `sample`: segments with a fair share of the window's traces, which a model works then."""

    prompt: str | None
    model: ModelConfig
    budget: BudgetConfig
    analysis: AnalysisConfig
    window: Window
    work_dir: Path
    cache_dir: Path | None
    threads: int = 2
    sample: Sequence[Path] = ()
    issues: Sequence[Issue] = ()  # of earlier windows
    labels: Sequence[Label] = ()  # of earlier windows, newest first
    messages: Sequence[Message] = ()
    emit: Callable[[Event], None] = lambda _: None
    progress: Callable[[Progress], None] = lambda _: None
    interrupted: Callable[[], bool] = lambda: False
    resume: bool = False
    models: tuple[LanguageModel, LanguageModel] | None = None  # root and sub, where they are not OpenAI's


def models_of(config: ModelConfig) -> tuple[LanguageModel, LanguageModel]:
    """Return the root model and the sub model of a configuration."""

    def one(name: str) -> OpenAIModel:
        return OpenAIModel(
            name, base_url=config.base_url, api_key=config.api_key.get_secret_value() if config.api_key else None,
            headers=config.headers, api=config.api, temperature=config.temperature,
            reasoning_effort=config.reasoning_effort, max_output_tokens=config.max_output_tokens,
            parallel_tool_calls=config.parallel_tool_calls, request_timeout_seconds=config.request_timeout_seconds,
            input_usd_per_million=config.input_usd_per_million, output_usd_per_million=config.output_usd_per_million,
        )  # fmt: skip

    return one(config.name), one(config.sub_model or config.name)


def limits_of(budget: BudgetConfig) -> BudgetLimits:
    """Return the engine's limits of a configuration."""
    return BudgetLimits(
        turns=budget.max_turns, depth=budget.max_depth, parallel=budget.max_parallel, tokens=budget.max_tokens,
        cost_usd=budget.max_cost, seconds=budget.max_seconds,
    )  # fmt: skip


def progress(session: Session, work: Work, findings: int, doing: str) -> Progress:
    """Return how far a session is. `findings`: how many there are so far; `doing`: what it does, in words."""
    ledger = session.ledger
    seconds = ledger.seconds
    limit = work.budget.max_seconds
    return Progress(
        doing=doing,
        turns=ledger.turns,
        max_turns=work.budget.max_turns,
        findings=findings,
        tokens=ledger.usage.input_tokens + ledger.usage.output_tokens,
        cost_usd=ledger.usage.cost_usd,
        seconds=seconds,
        seconds_left=max(0.0, limit - seconds) if limit is not None else None,
    )
