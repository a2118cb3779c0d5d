"""Why a model did not answer: what a report says of a run that is no success though the detectors' findings stand."""

from __future__ import annotations

from halo_worker.analysis.claim_verification import VerifiedAnswer
from halo_worker.report.formats import plural
from halo_worker.report.model import Stop


def reason(answer: VerifiedAnswer | None, *, question: bool, stopped: Stop | None, why: str) -> str | None:
    """Return why there is no answer; None where there is one, or where no question was asked and the model worked.

    `answer` None: the model gave none. `why`: the provider's error, or the limit that was reached.
    """
    if answer is None and stopped == "error":
        return why or "the provider did not answer"
    if not question:
        return None
    if answer is None:
        return f"the model gave no final answer{f' ({why})' if why else ''}"
    if answer.answer is None:
        return "the model's answer is empty"
    if answer.dropped and not answer.standing:
        return f"nothing of what it claims stood up to the data ({plural(answer.dropped, 'finding')} dropped)"
    return None
