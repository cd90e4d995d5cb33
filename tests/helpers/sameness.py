"""Whether two values are the same, bit by bit, in whatever they are nested."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


def same(one: Any, other: Any) -> bool:
    """Equal types, dtypes, shapes and bits; NaN is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        alike = (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and one.tobytes() == other.tobytes()
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)
