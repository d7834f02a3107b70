"""Values that stay in memory within a bound: networks, clips and answers."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class Memory:
    """The values used last, by key. If two threads ask for one key at once, its value is made once."""

    def __init__(self, bound: int, size: Callable[[Any], int] = lambda value: 1) -> None:
        self.bound = bound
        self.size = size
        self._values: OrderedDict[Hashable, Future] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value of a key; `make` is called if there is none, and tried again after an error."""
        with self._lock:
            future = self._values.get(key)
            is_new = future is None
            if is_new:
                future = self._values[key] = Future()
            self._values.move_to_end(key)
        if is_new:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    del self._values[key]
                future.set_exception(error)
            self.trim()
        return future.result()

    def trim(self, room: int = 0) -> None:
        """Forget the values used longest ago until the others, with `room` to spare, are within the bound."""
        with self._lock:
            sizes = {key: self.size(future.result()) for key, future in self._finished()}
            held = sum(sizes.values())
            for key, size in sizes.items():
                if held + room <= self.bound:
                    break
                del self._values[key]
                held -= size

    def values(self) -> list[Any]:
        """Return what is held, the last one used at the end."""
        with self._lock:
            return [future.result() for _, future in self._finished()]

    def _finished(self) -> list[tuple[Hashable, Future]]:
        return [(key, future) for key, future in self._values.items() if future.done()]
