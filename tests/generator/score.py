"""Findings against the truth of a fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from halo_worker.analysis.draft import Draft
from tests.generator.fleet import Truth


@dataclass
class Score:
    """Per mode: planted, found at all, found with a fitting category, at a right span; and false findings."""

    modes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))
    clean: int = 0  # healthy and hard-negative traces
    false: list[tuple[str, str, str, str]] = field(default_factory=list)  # scenario, detector, convention, trace
    detectors: dict[str, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )  # traces named, fitting

    @property
    def recall(self) -> float:
        """Macro recall, whatever the category."""
        return sum(row[1] / row[0] for row in self.modes.values()) / len(self.modes)

    @property
    def fitting(self) -> float:
        """Macro recall with a fitting category."""
        return sum(row[2] / row[0] for row in self.modes.values()) / len(self.modes)

    @property
    def located(self) -> float:
        """Of what was found with a fitting category, the share at a right span."""
        return sum(row[3] for row in self.modes.values()) / max(1, sum(row[2] for row in self.modes.values()))

    @property
    def false_per_thousand(self) -> float:
        """Clean traces with any finding, per thousand."""
        return 1000 * len({item[3] for item in self.false}) / max(1, self.clean)


def score(draft: Draft, truths: Iterable[Truth]) -> Score:
    """Compare; findings about telemetry are not about agents and do not count."""
    named: dict[str, list[tuple[str, str, set[str | None]]]] = defaultdict(list)
    for finding in draft.findings:
        if finding.category == "Broken Telemetry":
            continue
        for item in finding.occurrences:
            place = {item.origin_span_id, item.symptom_span_id}
            named[item.trace_id].append((finding.category, finding.detector_name, place))
    result = Score()
    for truth in truths:
        said = named.get(truth.trace_id, [])
        for detector in {item[1] for item in said}:
            result.detectors[detector][0] += 1
            result.detectors[detector][1] += any(item[1] == detector and item[0] in truth.categories for item in said)
        if truth.kind != "planted":
            result.clean += 1
            result.false += [(truth.mode, detector, truth.convention, truth.trace_id) for _, detector, _ in said]
            continue
        row = result.modes[truth.mode]
        fitting = [item for item in said if item[0] in truth.categories]
        row[0] += 1
        row[1] += bool(said)
        row[2] += bool(fitting)
        row[3] += any(item[2] & truth.spans for item in fitting)
    return result
