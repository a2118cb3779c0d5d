"""Which traces of a window a decision speaks of: those that can show whether what was resolved is back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from halo_receiver.store.reader import Reader
from halo_worker.report.decisions import Decision

Releases = Mapping[tuple[str, str], int]


def traces_since(reader: Reader, traces: Collection[str] | None, decision: Decision, releases: Releases) -> int:
    """Count the traces (of all: None) that started after a decision, or ran a release that it speaks of.

    Needs `overview.prepare`.

    With a release V: traces with a span of V, or of a version of the same service first seen after V. `releases` holds
    when each version of each service was first seen, in unix nanoseconds, this window included. Where V was never seen,
    versions first seen after the decision count.
    """
    named = "true" if traces is None else "list_contains($2, trace_id)"
    given = [] if traces is None else [sorted(traces)]
    if decision.release is None:
        question = f"SELECT count(*) AS n FROM _t WHERE epoch_ns(start_time) > $1 AND {named}"
        return int(reader.query(question, [decision.at_ns, *given])[0]["n"])
    ran = _qualifying(decision, decision.release, releases)
    rows = reader.query(
        "SELECT count(DISTINCT trace_id) AS n FROM _s "
        f"WHERE list_contains($1, service_name || chr(31) || version) AND {named}",
        [["\x1f".join(one) for one in sorted(ran)], *given],
    )
    return int(rows[0]["n"])


def _qualifying(decision: Decision, release: str, releases: Releases) -> set[tuple[str, str]]:
    came = {service: at for (service, version), at in releases.items() if version == release}
    found = {(service, release) for service in came}
    for (service, version), at in releases.items():
        after = came.get(service) if came else decision.at_ns
        if after is not None and at > after:
            found.add((service, version))
    return found
