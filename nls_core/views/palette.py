"""One colour for each loss, one dash for each padding, on every chart and page."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence

from nls_core.types import Manifest

# solid lines for zero padding, dashed for partial; losses beside these get a colour by their name
LOSS_COLOURS = {
    "ce": "#64748b",
    "ls": "#d97706",
    "nls": "#0d9488",
    "nls_ls": "#7c3aed",
    "focal": "#2563eb",
    "cosine": "#be185d",
    "nls_margin": "#0369a1",
    "ce_margin": "#a16207",
    "nls_ce": "#4d7c0f",
    "logitnorm": "#9333ea",
    "nce_rce": "#b45353",
}
MARK_COLOUR = "#dc2626"  # this picture; the colour of no loss
DASHES = {"zero": "solid", "partial": "dash"}
TEXT = "#64748b"  # readable on light and on dark pages, as the grid
GRID = "rgba(100,116,139,0.25)"
_SERIES = ("#2563eb", "#dc2626", "#7c3aed", "#d97706", "#0d9488", "#111827")
GOLDEN = 0.618034  # of a turn: hues that follow one another so are never close


def loss_colour(loss: str) -> str:
    """The colour of a loss, always the same; of one without an entry it is made from the name."""
    return LOSS_COLOURS.get(loss) or _colour(zlib.crc32(loss.encode()) * GOLDEN)


def colour_of(manifest: Manifest) -> str:
    """The colour of a model's loss."""
    return loss_colour(manifest.loss)


def dash_of(padding: str) -> str:
    """The dash of a padding's lines; dotted for one without an entry."""
    return DASHES.get(padding, "dot")


def series(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of some lines that are no losses, however many there are."""
    more = [_colour(n * GOLDEN) for n in range(len(_SERIES), len(names))]
    return dict(zip(names, [*_SERIES[: len(names)], *more], strict=True))


def _colour(turns: float) -> str:
    """A colour by its hue, readable on light and on dark pages."""
    parts = colorsys.hls_to_rgb(turns % 1, 0.42, 0.65)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
