"""The files that `halo cases` writes beside the cases. `@…@` is filled in."""

PYTEST = '''"""Regression cases of @ISSUE@: @TITLE@

Written by `halo cases`; write it again rather than edit it. Each case runs the agent, which the fixture `agent` of
conftest.py returns, records its spans, and fails where the rule of the issue fires. Needs halo-otel and pytest.
"""

import json
from pathlib import Path

import pytest

from halo_worker.cases import checking, recording
from halo_worker.errors import HaloError

FILE = Path(__file__).with_name("cases.jsonl")
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
CASES = [case for case in CASES if case["issue_id"] == "@ISSUE@"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{case['id']}" for case in CASES])
def test_the_failure_is_gone(case, agent):
    try:
        recorded = recording.record(agent, case["input"])
        fired = checking.fires(case, recorded.spans)
    except HaloError as error:
        pytest.fail(f"{error}; {error.hint}" if error.hint else str(error), pytrace=False)
    assert not fired, f"{case['issue_id']} is back: {fired[0]}"
'''

CONFTEST = '''"""Where the cases find your agent. Yours to edit: `halo cases` does not write over it."""

import pytest

from halo_worker.cases import recording


@pytest.fixture
def agent():
    """Return a function that runs your agent on a case's input: a dict of text, messages, tools and session_id."""
    return recording.named_agent()  # HALO_AGENT=module:function
'''

PROMPTFOO = '''"""The agent as a promptfoo provider, and the rule of the issue as an assertion. Written by `halo cases`.

HALO_AGENT=module:function names the agent; PROMPTFOO_PYTHON the Python that has halo-otel and the agent.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(Path.cwd()))


def _case(case_id):
    lines = (HERE / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return next(case for case in map(json.loads, lines) if case["id"] == case_id)


def call_api(prompt, options, context):
    from halo_worker.cases import checking, recording
    from halo_worker.errors import HaloError

    case = _case(context["vars"]["case_id"])
    try:
        recorded = recording.record(recording.named_agent(), case["input"])
        fired = checking.fires(case, recorded.spans)
    except HaloError as error:
        return {"error": f"{error}; {error.hint}" if error.hint else str(error)}
    except Exception as error:
        return {"error": f"the agent raised {type(error).__name__}: {error}"}
    return {"output": str(recorded.answer), "metadata": {"halo": fired}}


def get_assert(output, context):
    fired = ((context.get("providerResponse") or {}).get("metadata") or {}).get("halo")
    if fired is None:
        return {"pass": False, "score": 0, "reason": "the provider told nothing of the rule"}
    return {"pass": not fired, "score": 0 if fired else 1, "reason": fired[0] if fired else "the rule did not fire"}
'''
