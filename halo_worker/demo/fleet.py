"""The fleet and its calendar: which agent is asked when, how it usually goes, and which failure modes are planted.

Everything is relative to the end of the last day ("hours ago"), so that the demo looks the same whenever it runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from halo_worker.demo import coding, handbook, research, support
from halo_worker.demo.recorder import Agent, Conversation

Scenario = Callable[[Conversation], None]
HOUR = 3_600_000_000_000

# How busy each hour of the fleet's own day is; the least is not zero, for agents work at night too. For the fleet, the
# demo always begins at NOW_HOUR: by the real hour, a demo at night would show a tenth of what was planted for today.
NOW_HOUR = 17
HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 9, 11, 12, 12, 11, 9, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True, slots=True)
class Release:
    """A build of a service, from so many hours ago on."""

    version: str
    hours_ago: float


@dataclass(frozen=True, slots=True)
class Mode:
    """A planted failure mode: its share of the agent's traces at so many hours ago."""

    key: str
    title: str
    scenario: Scenario
    share: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Team:
    """One agent of the fleet: its share of the traffic, its releases, how it usually goes and how it fails."""

    share: float
    module: ModuleType
    releases: tuple[Release, ...]
    healthy: tuple[tuple[Scenario, float], ...]
    modes: tuple[Mode, ...]

    def agent(self, hours_ago: float) -> Agent:
        """The agent as it was deployed then."""
        release = next(release for release in reversed(self.releases) if release.hours_ago >= hours_ago)
        agent: Agent = self.module.agent(release.version)
        return agent


def _between(oldest: float, newest: float, share: float) -> Callable[[float], float]:
    return lambda hours_ago: share if newest <= hours_ago < oldest else 0.0


def _ramp(before: float, today: float) -> Callable[[float], float]:
    return lambda hours_ago: today if hours_ago < 24 else before


ALWAYS = 1e9
DEPLOYED = 9.0  # hours ago: release 2.4.0 of the support agent
FLEET = (
    Team(
        0.40, support, (Release("2.3.1", ALWAYS), Release("2.4.0", DEPLOYED)),
        (
            (support.where_is_my_parcel, 34), (support.parcel_in_german, 6), (support.refund, 18), (support.returns_policy, 14), (support.change_of_address, 10),
            (support.mistyped_order, 6), (support.retry_that_worked, 4), (support.pasted_stack_trace, 4), (support.refused_rightly, 3),
        ),
        (
            Mode("refund_in_cents", "Refunds are asked for in cents, refused, and confirmed to the customer",
                 support.refund_in_cents, _between(DEPLOYED, 0, 0.17)),
            Mode("tracking_times_out", "The carrier's API times out", support.tracking_times_out, _between(ALWAYS, 24, 0.09)),
        ),
    ),
    Team(
        0.25, handbook, (Release("1.7.2", ALWAYS),),
        ((handbook.answered, 70), (handbook.followed_up, 22), (handbook.honest_about_nothing, 8)),
        (
            Mode("invented_answer", "Answers without any document found", handbook.invented_answer,
                 lambda hours_ago: 0.09 if 72 <= hours_ago < 96 or hours_ago < 14 else 0.0),
            Mode("empty_answer", "The model answers with nothing", handbook.empty_answer, _between(ALWAYS, 0, 0.05)),
        ),
    ),
    Team(
        0.20, coding, (Release("0.9.4", ALWAYS), Release("0.10.0", 47.0)),
        ((coding.fixed_at_once, 45), (coding.red_then_green, 35), (coding.long_and_healthy, 12), (coding.waited_for_ci, 8)),
        (
            Mode("test_loop", "The same failing test is run again and again", coding.test_loop, _ramp(0.04, 0.09)),
            Mode("invented_tool", "A tool is called that was never offered", coding.invented_tool, _between(47.0, 0, 0.07)),
        ),
    ),
    Team(
        0.15, research, (Release("3.1.0", ALWAYS),),
        ((research.brief, 50), (research.brief_with_check, 38), (research.dead_link_handled, 12)),
        (
            Mode("truncated_plan", "The plan is cut at the token limit and cannot be parsed",
                 research.truncated_plan, _between(ALWAYS, 0, 0.07)),
            Mode("ping_pong", "Two specialists hand a task back and forth", research.ping_pong, _ramp(0.08, 0.05)),
            Mode("rate_limited", "Retries without waiting after 429", research.rate_limited, _between(68, 52, 0.25)),
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visit:
    """One trace to be made."""

    start_ns: int
    team: Team
    agent: Agent
    scenario: Scenario
    mode: Mode | None
    seed: str


def visits(*, now_ns: int, days: int, traces_per_day: int, seed: int) -> Iterator[Visit]:
    """Plan the traffic of `days` days before `now_ns`, oldest first. The same seed plans the same."""
    rng = random.Random(f"fleet {seed}")
    starts = []
    for day in range(days):
        count = round(traces_per_day * rng.uniform(0.93, 1.07))
        end_ns = now_ns - day * 24 * HOUR
        starts += [_moment(rng, end_ns) for _ in range(count)]
    for number, start_ns in enumerate(sorted(starts)):
        hours_ago = (now_ns - start_ns) / HOUR
        team = rng.choices(FLEET, [team.share for team in FLEET])[0]
        mode = _mode(rng, team, hours_ago)
        usual = rng.choices([scenario for scenario, _ in team.healthy], [weight for _, weight in team.healthy])[0]
        yield Visit(start_ns, team, team.agent(hours_ago), mode.scenario if mode else usual, mode, f"{seed} {number}")


def _moment(rng: random.Random, end_ns: int) -> int:
    """A start within the 24 hours before `end_ns`, by the hour of the day; a quarter of an hour is left to finish."""
    for _ in range(100):
        hours_ago = rng.uniform(0.25, 24.0)
        if rng.uniform(0, max(HOURS)) < HOURS[int(NOW_HOUR - hours_ago) % 24]:
            return end_ns - int(hours_ago * HOUR)
    return end_ns - HOUR


def _mode(rng: random.Random, team: Team, hours_ago: float) -> Mode | None:
    dice = rng.random()
    for mode in team.modes:
        dice -= mode.share(hours_ago)
        if dice < 0:
            return mode
    return None
