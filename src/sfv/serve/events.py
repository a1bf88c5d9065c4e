"""Who waits for news of which job."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class JobEvents:
    """Who waits for news of which job, or for its end alone; notified from any thread."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.waiting: dict[tuple[str, bool], set[asyncio.Event]] = defaultdict(set)

    def notify(self, names: list[str], over: bool = False) -> None:
        """Something has changed with these jobs; they may be `over`."""
        if self.loop and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._set, names, over)

    def _set(self, names: list[str], over: bool) -> None:
        for key in [(name, end) for name in names for end in (False, over)]:
            for event in self.waiting.get(key, ()):
                event.set()

    @contextmanager
    def watching(self, name: str, end: bool = False) -> Iterator[asyncio.Event]:
        """An event that is set when the job changes, or when it may have come to its `end`."""
        event, key = asyncio.Event(), (name, end)
        self.waiting[key].add(event)
        try:
            yield event
        finally:
            self.waiting[key].discard(event)
            if not self.waiting[key]:
                del self.waiting[key]
