"""What goes when requests that are being read hold too much. Memory and time are passed in; the loop is real."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from halo_receiver import process_memory, read_limits
from halo_receiver.read_limits import Ended, Read, Reads

MIB = 2**20


class World:
    """A clock and an allocator that a test sets."""

    def __init__(self, **options: Any) -> None:
        self.now, self.allocated, self.held = 100.0, 50 * MIB, 0
        self.each = 0  # what every request that is being read holds
        settings: dict[str, Any] = {"budget": 8 * MIB, "largest": 4 * MIB, "idle_seconds": 30, "total_seconds": 120}
        self.reads = Reads(
            **{**settings, **options},
            held=lambda: self.held, clock=lambda: self.now, in_use=self.in_use,
        )  # fmt: skip

    def in_use(self) -> int:
        return self.allocated + self.each * (len(self.reads) if hasattr(self, "reads") else 0)

    def read(self, *, counted: bool = False) -> tuple[asyncio.Task[str], asyncio.Future[Read], asyncio.Event]:
        """Begin to read a request that ends when its event is set; the task tells how it ended."""
        begun: asyncio.Future[Read] = asyncio.get_running_loop().create_future()
        whole = asyncio.Event()

        async def run() -> str:
            try:
                async with self.reads.begin(counted=counted) as read:
                    begun.set_result(read)
                    await whole.wait()
            except Ended as error:
                return str(error)
            return "read"

        return asyncio.create_task(run()), begun, whole


async def until(question: Callable[[], Awaitable[bool] | bool]) -> None:
    async with asyncio.timeout(10):
        while not question():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_limits, "LOOK_SECONDS", 0.001)


async def started(world: World, number: int, **options: Any) -> list[asyncio.Task[str]]:
    tasks = []
    for _ in range(number):
        task, begun, _ = world.read(**options)
        await begun
        tasks.append(task)
    return tasks


async def test_requests_that_hold_little_are_all_read_however_long_they_stand() -> None:
    """A thousand that sent a byte each cost nobody anything."""
    world = World()
    tasks = await started(world, 1000)
    world.now += 60
    await asyncio.sleep(0.05)
    assert (len(world.reads), world.reads.ended) == (1000, 0)
    for task in tasks:
        task.cancel()


async def test_above_the_budget_those_that_stand_longest_go_until_there_is_room() -> None:
    world = World()
    old = await started(world, 4)
    world.now += read_limits.UNKNOWN_SECONDS + 1
    young = await started(world, 4)
    world.now += 1
    world.each = 2 * MIB
    await until(lambda: world.reads.used() <= 8 * MIB)
    await asyncio.gather(*old)
    assert [task.result() for task in old] == ["requests that are being read hold more than 8 MiB"] * 4
    assert sum(task.done() for task in young) == 1, "with some room for what comes meanwhile"
    for task in young:
        task.cancel()


async def test_among_those_that_may_move_the_oldest_stay_for_they_have_the_least_left_to_come() -> None:
    """Ended all together, they would come again together, and never be read."""
    world = World()
    first = await started(world, 2)
    world.now += 1
    second = await started(world, 2)
    world.now += 1
    world.each = 5 * MIB // 2
    await until(lambda: world.reads.ended >= 1)
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in first)
    assert any(task.done() for task in second)
    for task in (*first, *second):
        task.cancel()


async def test_a_request_that_has_just_begun_is_left_alone_whatever_the_others_hold() -> None:
    world = World()
    stuck = await started(world, 3)
    world.now += 20
    [quick] = await started(world, 1)
    world.allocated += 100 * MIB
    await until(lambda: all(task.done() for task in stuck))
    assert not quick.done()
    quick.cancel()


async def test_one_request_may_always_be_read_and_no_more_is_believed_than_they_can_hold() -> None:
    """What else grew meanwhile, thousands of connections for example, ends no request."""
    world = World()
    tasks = await started(world, 2)
    world.now += 1
    world.allocated += 1000 * MIB
    await asyncio.sleep(0.05)
    assert world.reads.used() == 8 * MIB
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()


async def test_what_is_read_and_being_answered_does_not_count() -> None:
    world = World()
    tasks = await started(world, 4)
    world.now += 1
    world.held = 64 * MIB
    world.allocated += 128 * MIB
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()


async def test_what_is_in_use_without_requests_is_measured_again() -> None:
    world = World()
    task, begun, whole = world.read()
    await begun
    whole.set()
    assert await task == "read"
    world.allocated += 500 * MIB
    await until(lambda: not world.reads._watching)
    tasks = await started(world, 4)
    world.now += 1
    await asyncio.sleep(0.05)
    assert world.reads.used() == 0
    for task in tasks:
        task.cancel()


async def test_bodies_are_held_to_the_budget_as_they_come_and_a_trickle_is_no_progress() -> None:
    world = World()
    bodies = []
    for _ in range(2):
        task, begun, _ = world.read(counted=True)
        read = await begun
        read.grew(4 * MIB - 10)
        bodies.append((task, read))
    for _ in range(50):  # a byte now and then, of one of them
        world.now += 0.1
        bodies[0][1].grew(1)
    world.now += 0.1
    bodies[1][1].grew(read_limits.PROGRESS_BYTES)  # the other one moves
    async with asyncio.timeout(10):
        assert await bodies[0][0] == "requests that are being read hold more than 8 MiB"
    assert not bodies[1][0].done()
    bodies[1][0].cancel()


async def test_a_body_of_which_nothing_comes_and_any_request_that_takes_too_long_are_ended() -> None:
    world = World()
    [idle] = await started(world, 1, counted=True)
    [unknown] = await started(world, 1)
    world.now += 31
    async with asyncio.timeout(10):
        assert await idle == "nothing of the request came for 30 s"
    assert not unknown.done()
    world.now += 90
    async with asyncio.timeout(10):
        assert await unknown == "the request was not complete after 120 s"


async def test_there_are_never_more_than_can_be_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_limits, "MAX_READS", 10)
    world = World()
    tasks = await started(world, 10)
    world.now += 20
    [newcomer] = await started(world, 1)
    async with asyncio.timeout(10):
        assert await tasks[0] == "too many requests are being read"
    assert not newcomer.done()
    for task in (*tasks, newcomer):
        task.cancel()


async def test_who_gives_up_is_not_told_that_it_was_ended() -> None:
    world = World()
    [task] = await started(world, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(world.reads) == 0


def test_what_is_allocated_is_known_here() -> None:
    """Of any C library: what Python holds lies in it too."""
    before = process_memory.in_use()
    held = bytes(64 * MIB)
    assert before < process_memory.in_use()
    assert process_memory.in_use() - before < 2 * len(held)
    process_memory.give_back()
