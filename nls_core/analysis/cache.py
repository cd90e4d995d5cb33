"""What was computed, kept once for everybody and within a limit of bytes."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np

V = TypeVar("V")
PLACE = 1000  # bytes that any value counts for, with its key: small ones must not pile up


class Store(Generic[V]):
    """Values by key; the least recently used go first once all take more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def get_or_make(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value, or if it is not kept what `make` gives, kept from then on."""
        value = self.get(key)
        if value is None:
            self.put(key, value := make())
        return value

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value, unless it alone is beyond the limit."""
        size = nbytes(value) + PLACE
        with self._lock:
            if key in self._values:
                self.bytes -= self._values.pop(key)[1]
            self._values[key] = (value, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._values.popitem(last=False)[1][1]


def nbytes(value: Any) -> int:
    """Bytes of all arrays and texts in a value of nested dataclasses and tuples."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, str):
        return sys.getsizeof(value)  # one ε, and each letter takes two bytes
    if dataclasses.is_dataclass(value):
        return sum(nbytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    return sum(map(nbytes, value)) if isinstance(value, tuple) else 0
