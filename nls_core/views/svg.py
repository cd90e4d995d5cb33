"""A chart as a static SVG: what reports hold instead of the 5 MB of a drawing library.

It draws what our figures of lines and bars have, and refuses what it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from nls_core.views.chart_text import describe
from nls_core.views.palette import TEXT

LEFT, RIGHT, TOP, BOTTOM = 62, 16, 44, 46  # pixels around what is drawn
ROW = 18  # pixels of a line of the legend
DASHES = {"solid": "", "dash": "8 5", "dot": "2 4"}
GRID = 'stroke="#64748b" stroke-opacity="0.25"'
STEPS = (1, 2, 2.5, 5, 10)  # ticks are that far apart, times a power of ten


@dataclass(frozen=True)
class Axis:
    """Values `low` to `high` lie on pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    title: str
    percent: bool

    def at(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """Round values, at most one in 45 pixels, and five."""
        most = min(5.0, abs(self.end - self.start) / 45)
        rough = (self.high - self.low) / max(most, 1)
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * s for s in STEPS if power * s >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]

    def label(self, value: float) -> str:
        """A tick's text."""
        return f"{100 * value:g}%" if self.percent else f"{value:.6g}"


def draw(figure: go.Figure, *, width: int = 640) -> str:
    """The figure as an SVG element, without a background.

    Raises:
        ValueError: a trace or shape that this does not draw.
    """
    for trace in figure.data:
        if trace.type not in ("scatter", "bar"):
            raise ValueError(f"expected lines or bars; got a trace {trace.type!r}")
    named = _legend(figure, width) if not figure.layout.title.text else ([], 1)
    top = TOP + ROW * (named[1] - 1)
    height = int(figure.layout.height or 360) + top - TOP
    x = _axis(figure, "x", LEFT, width - RIGHT)
    names = sorted({trace.yaxis or "y" for trace in figure.data})
    inside = (height - BOTTOM, top)
    ys = {name: _axis(figure, name, *_domain(figure, name, inside)) for name in names}
    parts = [*_frame(x, list(ys.values()), height)]
    for shape in figure.layout.shapes or ():
        parts.append(_line(x, inside, shape))
    for trace in figure.data:
        parts += _trace(trace, x, ys[trace.yaxis or "y"])
    title = figure.layout.title.text
    parts += [_text(LEFT, 18, title, size=13)] if title else named[0]
    name = escape(describe(figure), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{name}" font-family="system-ui, sans-serif" font-size="12" fill="{TEXT}">'
        f"{''.join(parts)}</svg>"
    )


def _axis(figure: go.Figure, name: str, start: float, end: float) -> Axis:
    layout = figure.layout[f"{name[0]}axis{name[1:]}"]
    values = [v for trace in figure.data for v in _values(trace, name)]
    low, high = layout.range or (min(0.0, *values), max(values) * 1.04)
    high = high if high > low else low + 1
    percent = "%" in (layout.tickformat or "")
    return Axis(low, high, start, end, layout.title.text or "", percent)


def _values(trace: Any, name: str) -> Sequence[float]:
    if name == "x":
        return list(trace.x)
    return list(trace.y) if (trace.yaxis or "y") == name else []


def _domain(figure: go.Figure, name: str, inside: tuple[float, float]) -> tuple[float, float]:
    low, high = figure.layout[f"yaxis{name[1:]}"].domain or (0, 1)
    start, end = inside
    return start + low * (end - start), start + high * (end - start)


def _frame(x: Axis, ys: Sequence[Axis], height: int) -> Iterator[str]:
    """Grids, ticks and titles."""
    for y in ys:
        for value in y.ticks():
            at = y.at(value)
            yield f'<path d="M{x.start} {at}H{x.end}" {GRID}/>'
            yield _text(x.start - 7, at + 4, y.label(value), anchor="end")
        for value in x.ticks():
            yield f'<path d="M{x.at(value)} {y.start}V{y.end}" {GRID}/>'
        middle = (y.start + y.end) / 2
        turned = f' transform="rotate(-90 14 {middle})"'
        yield _text(14, middle, y.title, anchor="middle", more=turned)
    for value in x.ticks():
        yield _text(x.at(value), height - BOTTOM + 17, x.label(value), anchor="middle")
    yield _text((x.start + x.end) / 2, height - 8, x.title, anchor="middle")


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, more: str = ""
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}"{more}>'
        f"{escape(text)}</text>"
    )


def _line(x: Axis, inside: tuple[float, float], shape: Any) -> str:
    if shape.type != "line" or shape.x0 != shape.x1:
        raise ValueError(f"expected a vertical line; got a shape {shape.type!r}")
    dash = DASHES[shape.line.dash or "solid"]
    return (
        f'<path d="M{x.at(shape.x0)} {inside[0]}V{inside[1]}" stroke="{TEXT}" '
        f'stroke-dasharray="{dash}"/>'
    )


def _trace(trace: Any, x: Axis, y: Axis) -> Iterator[str]:
    yield from (_scatter if trace.type == "scatter" else _bars)(trace, x, y)


def _scatter(trace: Any, x: Axis, y: Axis) -> Iterator[str]:
    places = [(x.at(a), y.at(b)) for a, b in zip(trace.x, trace.y, strict=True)]
    colour, dash = trace.line.color or TEXT, DASHES[trace.line.dash or "solid"]
    path = "L".join(f"{a} {b}" for a, b in places)
    width = trace.line.width or 1.5
    stroke = f'fill="none" stroke="{escape(colour, quote=True)}" stroke-width="{width}"'
    yield f'<path d="M{path}" {stroke} stroke-dasharray="{dash}"/>'
    if "markers" not in (trace.mode or ""):
        return
    symbols = trace.marker.symbol
    for (a, b), symbol in zip(places, symbols or ["circle"] * len(places), strict=True):
        if symbol == "x":
            yield f'<path d="M{a - 4} {b - 4}l8 8m0 -8l-8 8" {stroke}/>'
        else:
            yield f'<circle cx="{a}" cy="{b}" r="4" fill="{escape(colour, quote=True)}"/>'


def _bars(trace: Any, x: Axis, y: Axis) -> Iterator[str]:
    colours, ground = trace.marker.color, y.at(max(0.0, y.low))
    wide = x.at(trace.width) - x.at(0)
    for i, (a, b) in enumerate(zip(trace.x, trace.y, strict=True)):
        top, left = y.at(b), x.at(a) - wide / 2
        yield (
            f'<rect x="{left:.2f}" y="{top}" width="{wide:.2f}" height="{ground - top:.2f}" '
            f'fill="{escape(colours[i], quote=True)}"/>'
        )
        if trace.error_y.array is not None:
            low, high = b - trace.error_y.arrayminus[i], b + trace.error_y.array[i]
            yield f'<path d="M{x.at(a)} {y.at(low)}V{y.at(high)}" stroke="{TEXT}"/>'


def _legend(figure: go.Figure, width: int) -> tuple[list[str], int]:
    """What names the lines, and in how many rows."""
    parts: list[str] = []
    left, row = float(LEFT), 0
    for trace in figure.data:
        if not trace.name:
            continue
        wide = 50 + 7 * len(trace.name)
        if left > LEFT and left + wide > width:
            left, row = float(LEFT), row + 1
        stroke = f'stroke="{escape(trace.line.color, quote=True)}" stroke-width="2.5"'
        dash = DASHES[trace.line.dash or "solid"]
        at = 14 + ROW * row
        parts.append(f'<path d="M{left} {at}h26" {stroke} stroke-dasharray="{dash}"/>')
        parts.append(_text(left + 32, at + 4, trace.name))
        left += wide
    return parts, row + 1
