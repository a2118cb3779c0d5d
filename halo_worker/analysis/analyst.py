"""Traces meet the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis.draft import Draft
from halo_worker.config import AnalysisConfig, BudgetConfig, ModelConfig


def analyze(
    reader: Reader,
    *,
    prompt: str | None,
    model: ModelConfig,
    budget: BudgetConfig,
    analysis: AnalysisConfig,
    hypotheses: Draft,
    work_dir: Path,
    cache_dir: Path,
    say: Callable[[str], None],
    interrupted: threading.Event,
    resume: bool = False,
    telemetry: bool = False,
) -> Draft:
    """Have a model work the window, with the detectors' findings as its starting hypotheses."""
    raise NotImplementedError
