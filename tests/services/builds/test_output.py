"""Stages that run side by side are heard in the file's order."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from sharedrt.services.builds.events import BuildEvent, BuildText
from sharedrt.services.builds.output import MAX_WAITING_BYTES, OrderedOutput


class Client:
    """Takes its time."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def tell(self, event: BuildEvent) -> None:
        assert isinstance(event, BuildText)
        await asyncio.sleep(0)
        self.heard.append(event.text)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_every_line_once_in_order(counts: list[int], dice: random.Random) -> None:
    async def run() -> list[str]:
        client = Client()
        output = OrderedOutput(range(len(counts)), client.tell)

        async def stage(index: int) -> None:
            for number in range(counts[index]):
                for _ in range(dice.randint(0, 3)):
                    await asyncio.sleep(0)
                await output.of(index).say(f"{index}.{number}")
            output.of(index).done = True
            await output.advance()

        async with asyncio.TaskGroup() as group:
            for index in range(len(counts)):
                group.create_task(stage(index))
            await output.advance()
        return client.heard

    expected = [f"{i}.{n}" for i, count in enumerate(counts) for n in range(count)]
    assert asyncio.run(run()) == expected


async def test_what_waits_is_bounded_and_that_is_said() -> None:
    client = Client()
    output = OrderedOutput([0, 1], client.tell)
    await output.advance()
    line = "x" * (1 << 16)
    for _ in range(200):
        await output.of(1).say(line)
    await output.of(0).say("live")
    assert client.heard == ["live"]
    output.of(0).done = True
    await output.advance()
    waited = client.heard[1:]
    assert sum(map(len, waited)) < MAX_WAITING_BYTES + len(line) + 200
    assert "output clipped" in waited[-1]
    await output.of(1).say("live too")
    assert client.heard[-1] == "live too"


async def test_a_failure_lets_all_be_heard() -> None:
    client = Client()
    output = OrderedOutput([0, 1], client.tell)
    await output.advance()
    await output.of(1).say("second")
    await output.of(0).say("first")
    await output.flush()
    assert client.heard == ["first", "second"]
