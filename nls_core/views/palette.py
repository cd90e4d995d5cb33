"""One colour for each loss, one dash for each padding, on every chart and page."""

from __future__ import annotations

from nls_core.types import Manifest

# One colour per loss everywhere; solid lines for zero padding, dashed for partial.
LOSS_COLOURS = {
    "ce": "#64748b",
    "ls": "#d97706",
    "nls": "#0d9488",
    "nls_ls": "#7c3aed",
    "focal": "#2563eb",
    "cosine": "#be185d",
}
OTHER_COLOUR = "#7c3aed"
MARK_COLOUR = "#dc2626"  # this picture; the colour of no loss
DASHES = {"zero": "solid", "partial": "dash"}
TEXT, GRID = "#64748b", "rgba(100,116,139,0.25)"  # readable on light and on dark pages


def colour_of(manifest: Manifest) -> str:
    """The colour of a model's loss."""
    return LOSS_COLOURS.get(manifest.loss, OTHER_COLOUR)
