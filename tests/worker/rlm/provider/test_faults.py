"""The fault table: what can pass is tried again, what cannot ends at once and clearly; every run has an Outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.scripted_model import Scripted
from tests.worker.rlm.conftest import NewSession, task
from tests.worker.rlm.provider.faults import MAX_RETRIES, SCENARIOS, Scenario


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_every_fault_has_its_outcome(
    scripted_model: Scripted, session: NewSession, scenario: Scenario, api: Any, tmp_path: Path
) -> None:
    # Short only where it is waited out: elsewhere a busy machine must not look like a fault.
    timeout = 0.5 if "(timeout)" in scenario.name else 10.0
    server = scripted_model(scenario.script(("flood", {})))
    model = OpenAIModel("m", base_url=server.base_url, api_key="none", api=api, request_timeout_seconds=timeout)
    one = session(model, max_retries=MAX_RETRIES, refusal_retries=1, emit=lambda _: None)
    outcome = await one.loop(task())
    assert (outcome.arguments is not None) == (scenario.ends != "error")
    assert outcome.stopped_by == {"answer": None, "error": "error", "limit": "turns"}[scenario.ends]
    assert scenario.says in outcome.reason
    assert not scenario.requests or len(server.requests) == scenario.requests
    assert one.ledger.model_calls == len(server.requests)
