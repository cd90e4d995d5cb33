"""What travels to a backend and back, exactly: JSON that names its types, and arrays as they are.

Nothing is pickled: of a stranger's bytes come numbers, texts, arrays and the records below alone.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nls_core import files
from nls_core.analysis import borders, features, masking
from nls_core.analysis.results import CamMap, FlipPoint, Prediction, SweepPoint
from nls_core.data.sample import Sample
from nls_core.errors import InvalidInput, brief

TREE = "tree"  # the entry of the .npz that holds the JSON; the others are numbered
RECORDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        CamMap,
        FlipPoint,
        Prediction,
        SweepPoint,
        Sample,
        borders.Border,
        borders.Scaling,
        features.Answers,
    )
}
# what may be done with a model elsewhere than in an analysis
WORKS: dict[str, Callable[..., Any]] = {
    work.__name__: work
    for work in (borders.ratios_of, borders.shares, features.answer, masking.answers)
}


def pack(value: Any) -> bytes:
    """Plain values, arrays, tensors and `RECORDS`, in lists, tuples and dicts, as bytes."""
    arrays: list[NDArray[Any]] = []
    tree = json.dumps(_tree(value, arrays)).encode()
    file = io.BytesIO()
    entries: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    np.savez(file, **entries | {TREE: np.frombuffer(tree, np.uint8)})
    return file.getvalue()


def _tree(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """JSON in which every object has one key, the kind of its value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_tree(each, arrays) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_tree(each, arrays) for each in value]}
    if isinstance(value, dict):
        return {"dict": {key: _tree(each, arrays) for key, each in value.items()}}
    if isinstance(value, (np.ndarray, torch.Tensor)):
        arrays.append(value.cpu().numpy() if isinstance(value, torch.Tensor) else value)
        return {"tensor" if isinstance(value, torch.Tensor) else "array": len(arrays) - 1}
    name = type(value).__name__
    if RECORDS.get(name) is not type(value):
        raise TypeError(f"expected what travels to a backend; got {name}")
    fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    return {name: {key: _tree(each, arrays) for key, each in fields}}


def unpack(data: bytes) -> Any:
    """What `pack` was given.

    Raises:
        InvalidInput: they are no such bytes, or those of a much larger value.
    """
    try:
        arrays = files.parse_arrays(data, limit=len(data))  # nothing in it is compressed
        return _value(json.loads(arrays[TREE].tobytes()), arrays)
    except Exception as error:  # whatever numpy, JSON and the records' fields raise
        raise InvalidInput(
            f"expected what `wire.pack` makes; got another: {brief(error)}"
        ) from error


def _value(tree: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(tree, list):
        return [_value(each, arrays) for each in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, inner),) = tree.items()
    if kind == "tuple":
        return tuple(_value(each, arrays) for each in inner)
    if kind in ("array", "tensor"):
        array = arrays[str(inner)]
        return array if kind == "array" else torch.from_numpy(array)
    fields = {key: _value(each, arrays) for key, each in inner.items()}
    return fields if kind == "dict" else RECORDS[kind](**fields)
