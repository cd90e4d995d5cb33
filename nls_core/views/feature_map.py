"""Embeddings -> HTML: a map of points that show their image, and rows of neighbours.

All images are one sprite sheet in one style rule; a point is one element whose `::before` is its
image and whose `::after` is its text, both made only while a person points at it, by hovering or,
on a phone, by tapping (focus). So a thousand points need neither scripts nor a thousand images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.colors
from PIL import Image

from nls_core.analysis.features import VOTERS, Embedding, Placed
from nls_core.data.sample import Sample
from nls_core.types import FloatArray
from nls_core.views import raster
from nls_core.views.sentences import percent

COLUMNS = 40  # images in a row of the sprite sheet
SHOWN = 84  # pixels of an image on the page


def class_colour(index: int, classes: int) -> str:
    """The colour of a class: ten named ones, or evenly spread hues for more classes."""
    if classes <= len(plotly.colors.qualitative.D3):
        return str(plotly.colors.qualitative.D3[index])
    return f"hsl({360 * index / classes:.0f} 65% {(42, 58)[index % 2]}%)"


def sprite(sample: Sample) -> raster.Pixels:
    """All images (N, C, h, w) as one picture (rows·h, COLUMNS·w) or (…, …, 3), row by row."""
    n, channels, height, width = sample.images.shape
    rows = math.ceil(n / COLUMNS)
    sheet = np.zeros((rows * COLUMNS, channels, height, width), np.uint8)
    sheet[:n] = sample.images
    grid = sheet.reshape(rows, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = grid.reshape(rows * height, COLUMNS * width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def sheet_uri(sample: Sample) -> str:
    """The sprite sheet as a data URI; colour images are made as small as they are shown."""
    sheet = sprite(sample)
    if sheet.ndim == 2:
        return raster.png_data_uri(sheet)
    rows = sheet.shape[0] // sample.images.shape[2]
    small = Image.fromarray(sheet).resize((COLUMNS * SHOWN, rows * SHOWN), Image.Resampling.BOX)
    return raster.jpeg_data_uri(np.asarray(small))


def style(sample: Sample, classes: Sequence[str]) -> str:
    """The rules that hold the sprite sheet and the classes' colours."""
    rows = math.ceil(len(sample) / COLUMNS)
    sheet = (
        f".nls-map .p:is(:hover, :focus)::before, .nls-near .t "
        f"{{ background-image: url({sheet_uri(sample)}); "
        f"background-size: {COLUMNS * SHOWN}px {rows * SHOWN}px; }}"
    )
    colours = "".join(
        f".c{k} {{ --c: {class_colour(k, len(classes))}; }} "
        f".w{k} {{ --w: {class_colour(k, len(classes))}; }} "
        f".nls-maps:has(.k.c{k}:is(:hover, :focus)) .p:not(.c{k}) {{ opacity: .07; }} "
        for k in range(len(classes))
    )
    return f"<style>{sheet} {colours}</style>"


def maps(
    embeddings: Sequence[Embedding], placed: Sequence[Placed | None], classes: Sequence[str]
) -> str:
    """The models' maps side by side under one legend, with their numbers."""
    key = "".join(
        f'<span class="k c{k}" tabindex="-1"><i></i>{escape(name)}</span>'
        for k, name in enumerate(classes)
    )
    pairs = zip(embeddings, placed, strict=True)
    each = "".join(_map(embedding, new, classes) for embedding, new in pairs)
    return (
        f'<div class="nls-maps"><div class="nls-classes">{key}'
        '<span class="wrong"><i></i>ringed: misclassified, in the colour of the wrong answer'
        f'</span></div><div class="pair">{each}</div></div>'
    )


def _map(embedding: Embedding, new: Placed | None, classes: Sequence[str]) -> str:
    points = "".join(_point(embedding, i, classes) for i in range(len(embedding.labels)))
    mine = ""
    if new is not None:
        mine = f'<b class="new" style="{_spot(new.position)}">✛</b>'
    return (
        f'<section><h3>{escape(embedding.model_id)}</h3><div class="nls-map">{points}{mine}</div>'
        f"<p>{VOTERS} nearest images vote for the true class: "
        f"<b>{percent(embedding.knn)}</b> · the model itself is right: "
        f"{percent(embedding.accuracy)} · silhouette of the classes: "
        f"<b>{embedding.silhouette:.3f}</b> ({len(embedding.labels):,} images, "
        f"{embedding.answers.features.shape[1]} features)</p></section>"
    )


def _point(embedding: Embedding, i: int, classes: Sequence[str]) -> str:
    x, y = embedding.positions[i]
    truth, answer = int(embedding.labels[i]), int(embedding.predicted[i])
    sure = percent(float(embedding.answers.probabilities[i, answer]))
    text = f"{classes[truth]}; said {classes[answer]}, {sure}"
    # the card opens towards the middle of the map
    side = f"{' l' if x > 0.5 else ''}{' u' if y < 0.5 else ''}"
    wrong = "" if truth == answer else f" w w{answer}"
    return (
        f'<i class="p c{truth}{wrong}{side}" tabindex="-1" data-t="{escape(text, quote=True)}" '
        f'style="{_spot(embedding.positions[i])};--s:{offset(i)}"></i>'
    )


def _spot(position: FloatArray) -> str:
    """Where a position in [0, 1]² is drawn, with a margin, so that no dot is cut."""
    x, y = 3 + 94 * position
    return f"left:{x:.1f}%;top:{100 - y:.1f}%"


def offset(index: int) -> str:
    """Where a test image lies in the sprite sheet, as a CSS background position."""
    row, column = divmod(index, COLUMNS)
    return f"-{column * SHOWN}px -{row * SHOWN}px"


def neighbours(embedding: Embedding, new: Placed, classes: Sequence[str]) -> str:
    """A new image and its nearest test images, with class and distance."""
    answer = int(new.probabilities.argmax())
    picture = raster.png_data_uri(raster.whole(new.x)[0])
    own = (
        f'<figure><img src="{picture}" alt="as the model sees it"><figcaption><b>your picture</b>'
        f"<br>{escape(classes[answer])}, {percent(float(new.probabilities[answer]))}</figcaption>"
        "</figure>"
    )
    others = "".join(
        f'<figure><span class="t" role="img" aria-label="{escape(classes[label], quote=True)}" '
        f'style="background-position:{offset(int(i))}"></span><figcaption>'
        f"<b>{escape(classes[label])}</b><br>distance {distance:.2f}</figcaption></figure>"
        for i, label, distance in zip(
            new.indices, embedding.labels[new.indices].tolist(), new.distances, strict=True
        )
    )
    return (
        f'<section class="nls-near"><h3>Nearest in {escape(embedding.model_id)}</h3>'
        f'<div class="nls-strip" tabindex="0">{own}{others}</div></section>'
    )
