"""What travels to a backend: the same comes out, and nothing else is let in."""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nls_core.analysis import wire
from nls_core.analysis.borders import Border
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.errors import InvalidInput
from tests.helpers.sameness import same

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert repr(wire.unpack(wire.pack(value))) == repr(value)


def test_records_and_arrays_come_back_bit_by_bit(analysis: Analysis) -> None:
    sent = [(m.prediction, m.cam, m.sweep, m.flip_point) for m in analysis.models]
    assert same(wire.unpack(wire.pack(sent)), sent)
    border = Border("a/b-zero", np.array([0.1, math.nan], np.float32), 1 / 3)
    assert same(wire.unpack(wire.pack(border)), border)
    x = torch.rand(1, 3, 5, 7)
    back = wire.unpack(wire.pack({"x": x.transpose(2, 3), "u8": (x * 255).byte()}))
    assert torch.equal(back["x"], x.transpose(2, 3))
    assert back["u8"].dtype == torch.uint8


def test_what_is_no_record_does_not_leave() -> None:
    with pytest.raises(TypeError, match="got AnalysisRequest"):
        wire.pack(AnalysisRequest(models=()))


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def tree(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pickle.dumps(1),
        npz(a=np.zeros(1)),
        npz(tree=np.array([print])),  # an object array is a pickle
        npz(tree=tree('{"AnalysisRequest": {"dict": {}}}')),
        npz(tree=tree('{"FlipPoint": {"epsilon": 1}}')),
        npz(tree=tree('{"array": 7}')),
        npz(tree=tree('{"tuple": 1, "dict": 2}')),
        npz(tree=tree("null"), a=np.zeros(10_000)),  # much larger than its bytes
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"expected what `wire.pack` makes"):
        wire.unpack(data)


def test_every_record_is_frozen() -> None:
    for kind in wire.RECORDS.values():
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
