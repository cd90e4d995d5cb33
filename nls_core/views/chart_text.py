"""What a chart shows, in words and figures: for whoever does not see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

MARKS = {"x": "a cross", "star": "a star"}  # symbols that mean something
ALL = 6  # a line of at most that many points is told point by point, a longer one by its ends
Say = Callable[[Any], str]  # a value of an axis as text


def meta(figure: go.Figure) -> dict[str, str]:
    """What static/charts.js tells of a complete figure, and calls a file of it."""
    shown = _title(figure) or _plain(figure.layout.yaxis.title.text)
    name = re.sub(r"[^a-z0-9]+", "-", shown.lower().replace("ε", "epsilon")).strip("-")
    return {"text": describe(figure), "file": f"nls-lab-{name or 'chart'}"}


def describe(figure: go.Figure) -> str:
    """Title, axes, and of every line, dot, bar and cell its figures; made from the chart's data."""
    notes = [_plain(each.text) for each in figure.layout.annotations]
    drawn = [trace for trace in figure.data if _told(trace)]
    if not drawn:
        return ". ".join(filter(None, (_title(figure), *notes)))
    axes = list(dict.fromkeys(t.yaxis or "y" for t in drawn))
    across = [text for name in axes if (text := _plain(_axis(figure, "x", name).title.text))]
    parts = [_title(figure), f"Across: {across[-1]}" if across else ""]
    titled = len(notes) == len(axes) > 1  # subplots
    for name, note in zip(axes, notes if titled else [""] * len(axes), strict=True):
        head = ", ".join(filter(None, (note, _plain(_axis(figure, "y", name).title.text))))
        told = "; ".join(_trace(figure, t, name) for t in drawn if (t.yaxis or "y") == name)
        parts.append(f"{head}: {told}" if head else told)
    if not titled:  # of lines across
        say = _say(_axis(figure, "y", axes[0]))
        level = [each for each in figure.layout.annotations if each.yref == "y"]
        parts += [f"{_plain(each.text)}: {say(each.y)}" for each in level]
    return ". ".join(filter(None, parts)) + "."


def _title(figure: go.Figure) -> str:
    axes = [_plain(figure.layout[name].title.text) for name in ("yaxis", "xaxis")]
    return _plain(figure.layout.title.text) or (" over ".join(axes) if all(axes) else "")


def _told(trace: Any) -> bool:
    """Not bands, nor lines to compare with that nobody can point at, nor what has no points."""
    return not (trace.type == "scatter" and (trace.fill or trace.hoverinfo == "skip")) and bool(
        len(trace.x if trace.x is not None else ())
    )


def _plain(text: str | None) -> str:
    return re.sub(r"<[^>]+>", " ", text or "").replace("  ", " ").strip()


def _axis(figure: go.Figure, kind: str, name: str) -> Any:
    number = name[1:] if kind == "y" or f"xaxis{name[1:]}" in figure.layout else ""
    return figure.layout[f"{kind}axis{number}"]


def _say(axis: Any) -> Say:
    percent = "%" in (axis.tickformat or "")

    def say(value: Any) -> str:
        if isinstance(value, str):
            return value
        return f"{100 * value:.3g} %" if percent else f"{float(value):.4g}"

    return say


def _trace(figure: go.Figure, trace: Any, name: str) -> str:
    x, y = (_say(_axis(figure, kind, name)) for kind in "xy")
    if trace.type == "heatmap":
        return "; ".join(_rows(trace))
    xs, ys = list(trace.x), list(trace.y)
    if isinstance(ys[0], str):  # it lies: what was measured is across
        if trace.name:  # one value at all heights
            return f"{trace.name} {x(xs[0])}"
        pairs = enumerate(zip(xs, ys, strict=True))
        return ", ".join(f"{b} {x(a)}{_spread(trace.error_x, i, (a, x))}" for i, (a, b) in pairs)
    marks = _marks(trace)
    values = [
        f"{y(b)}{_spread(trace.error_y, i, (b, y))}{marks[i]} at {x(a)}"
        for i, (a, b) in enumerate(zip(xs, ys, strict=True))
    ]
    own = f"{_plain(trace.name)} " if trace.name else ""
    if trace.type == "bar" or len(values) <= ALL:
        return own + ", ".join(values)
    return own + _course(ys, values, marks)


def _spread(error: Any, index: int, at: tuple[float, Say]) -> str:
    """How far an error bar reaches from a value."""
    value, say = at
    if error.array is None or not error.array[index]:
        return ""
    above = float(error.array[index])
    if error.arrayminus is None:
        return f" (± {say(above).replace('%', 'points')})"
    return f" ({say(value - float(error.arrayminus[index]))} to {say(value + above)})"


def _marks(trace: Any) -> list[str]:
    """What the symbols of a trace's points say."""
    given = trace.marker.symbol if trace.type == "scatter" else None
    symbols = [given] * len(trace.x) if isinstance(given, str | None) else list(given)
    return [f" ({MARKS[each]})" if each in MARKS else "" for each in symbols]


def _course(ys: Sequence[float], values: Sequence[str], marks: Sequence[str]) -> str:
    """A long line by its ends, its lowest and its highest point, and the first that is marked."""
    low, high = (pick(range(len(ys)), key=lambda i: ys[i]) for pick in (min, max))
    places = {"lowest": low, "highest": high}
    if any(marks):
        places["first so marked"] = next(i for i, mark in enumerate(marks) if mark)
    told = f"from {values[0]} to {values[-1]}"
    for what, at in places.items():
        if at not in (0, len(ys) - 1):
            told += f", {what} {values[at]}"
    return told


def _rows(trace: Any) -> Iterator[str]:
    """A heat map, row by row, as its cells show it."""
    for name, row in zip(trace.y, trace.text, strict=True):
        cells = [f"{column} {text}" for column, text in zip(trace.x, row, strict=True) if text]
        yield f"{name}: {', '.join(cells)}"
