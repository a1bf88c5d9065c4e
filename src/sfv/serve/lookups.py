"""Jobs by their ids, for many who ask at the same moment: one query for all of them."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from sfv.serve.job import Job

Find = Callable[[Collection[str]], Mapping[str, Job]]
"""Jobs by their ids, those that there are; called in a thread."""


class Lookups:
    """Answers who asks for a job. While a query is under way the next questions gather, and are the next query."""

    def __init__(self, find: Find) -> None:
        self.find = find
        self.asked: list[tuple[str, asyncio.Future[Job | None]]] = []
        self.answering: asyncio.Task[None] | None = None

    async def get(self, name: str) -> Job | None:
        """A job as it is now or later; None if there is none. What `find` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Job | None] = loop.create_future()
        self.asked.append((name, answer))
        if self.answering is None or self.answering.done():
            self.answering = loop.create_task(self._answer())
        return await answer

    async def _answer(self) -> None:
        while self.asked:
            asked, self.asked = self.asked, []
            try:
                found = await asyncio.to_thread(self.find, {name for name, _ in asked})
            except Exception as error:
                for _, answer in asked:
                    if not answer.done():  # who has left wants none
                        answer.set_exception(error)
                continue
            for name, answer in asked:
                if not answer.done():
                    answer.set_result(found.get(name))
