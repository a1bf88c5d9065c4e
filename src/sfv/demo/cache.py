"""Things by key, as many as fit in so many bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LruCache(Generic[T]):
    """Things by key, as many as fit in `room` bytes; the least recently used give way. For several threads."""

    def __init__(self, room: int, size: Callable[[T], int]) -> None:
        self.room, self.size, self.held = room, size, 0
        self.things: OrderedDict[str, T] = OrderedDict()
        self.lock = threading.Lock()

    def put(self, key: str, thing: T) -> None:
        """Keep a thing, and let others go until all fit (the newest always stays)."""
        with self.lock:
            if (old := self.things.pop(key, None)) is not None:
                self.held -= self.size(old)
            self.things[key] = thing
            self.held += self.size(thing)
            while self.held > self.room and len(self.things) > 1:
                self.held -= self.size(self.things.popitem(last=False)[1])

    def get(self, key: str) -> T | None:
        """What is kept under a key, which now is the most recently used."""
        with self.lock:
            if key in self.things:
                self.things.move_to_end(key)
            return self.things.get(key)
