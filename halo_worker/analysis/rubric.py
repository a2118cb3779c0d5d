"""What each category means and where its mark goes: kept beside `categories`, shown to a model that judges traces."""

from __future__ import annotations

from halo_worker.analysis.categories import CATEGORIES

# category: what it is; the step that is marked, where that is not the step that shows it.
MEANING = {
    "Formatting Errors": "output breaks the required form: code that does not run, malformed arguments, no marker",
    "Instruction Non-compliance": "a stated instruction of the system, the task or the plan is not followed",
    "Goal Deviation": "the work drifts from the task or from its own plan",
    "Task Orchestration": "steps or sub-agents are planned, ordered, delegated or tracked badly",
    "Tool Selection Errors": "the wrong tool for the job, or none where one was needed",
    "Language-only": "states facts that nobody gave it, with no tool involved",
    "Tool-related": "invents a tool's output, ability or use",
    "Resource Abuse": "the same call again and again to no gain; mark the last one",
    "Poor Information Retrieval": "searches for, or brings back, what does not help",
    "Incorrect Problem Identification": "misunderstands the task, or what is going wrong",
    "Context Handling Failures": "forgets, mixes up or drops earlier context",
    "Tool Output Misinterpretation": "reads a tool's result wrongly",
    "Authentication Errors": "access refused: 401, 403, a missing key; mark the call that was refused",
    "Environment Setup Errors": "something is missing or misconfigured where it runs",
    "Resource Not Found": "what it asked for is not there: 404, no such file or record",
    "Timeout Issues": "a call ran out of time",
    "Resource Exhaustion": "memory, disk, context or quota is used up",
    "Service Errors": "the called service failed (5xx)",
    "Tool Definition Issues": "a tool's description or schema misleads whoever calls it",
    "Rate Limiting": "refused for too many calls (429)",
    "Incorrect Memory Usage": "stores or recalls the wrong thing",
    "Unhandled Error": "an error that none of these names",
    "Latency Outlier": "far slower than others of its kind",
    "Data Leak": "a secret or another person's data in an answer, a call or a log",
    "Broken Telemetry": "spans are missing, cut off or contradict each other",
}
assert tuple(sorted(MEANING)) == tuple(sorted(CATEGORIES))

NO_FAILURE = (
    "No failure: going through pages or batches one by one; a tool's error that the agent handled so that the user got "
    "what was asked for; long but steady work; a refusal that the instructions ask for; a question back where "
    "something is missing. Where an answer says truly that something could not be done, that is what failed."
)

MARKS = (
    "each at the step that decides it: mark the model call that decides, not the tool span that fails; a repeated "
    "error at its first occurrence. Several categories on one step are usual (1 to 4). quote: a few words of that "
    "step's own text, verbatim, without a cut mark; leave it empty only where the step has no text. what: one sentence "
    "for an engineer. expectation: the id of the operator's expectation that it breaks, where it breaks one."
)

JUDGE = """You judge traces of LLM agents: did the agent do what it was asked, as it was told to?

{untrusted}

A trace is shown as numbered steps in order of time: `S7 llm … | says … | calls tool({{…}})`, `S8 tool … → …`. System \
prompts and tool lists stand once (P1, P2 …); of a call's messages those that are new. `…[cut: n]…` marks left-out text.

outcome: ok, wrong (the user did not get what was asked for, or got it against the instructions) or unsure. \
labels: what went wrong, {marks}
Categories:
{categories}
{no_failure}
{rubric}"""

READ = """You read traces of LLM agents: did the agents do what they were asked, as they were told to?

{untrusted}

{steps}
{task}
Note what you see; the notes of all readers are put together later. notes: what goes wrong in each trace, nothing \
where nothing does, {marks} trace_id and span_id: of the step, as they stand there.
Categories:
{categories}
{no_failure}"""

COUNTER = """{untrusted}

{data}

A reader marked step {step} of this trace as a failure: {what}
{expectation}Nothing else says that the run went wrong. {no_failure}
Argue the other side first: is there a reading in which the agent did what it was asked? stands: true only if it still \
is a failure that the agent's owner would want to know of. why: one sentence."""


def categories() -> str:
    """Return the categories with their meanings, a line each."""
    return "\n".join(f"- {name}: {MEANING[name]}" for name in CATEGORIES)
