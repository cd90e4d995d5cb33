"""Models as people call them: the loss and the padding in words, the id beside them."""

from __future__ import annotations

from collections.abc import Iterable

from nls_core import losses
from nls_core.evidence.cells import parts
from nls_core.types import Manifest


def of(loss: str, padding: str) -> str:
    """E.g. 'normalized soft labels, partial padding'; the usual padding, of zeros, goes unsaid."""
    title = losses.TITLES.get(loss, loss)
    return title if padding == "zero" else f"{title}, {padding} padding"


def of_manifest(manifest: Manifest) -> str:
    """What a model is called."""
    return of(manifest.loss, manifest.padding)


def menu(ids: Iterable[str]) -> list[tuple[str, str]]:
    """(what a menu shows, id) of models, by their ids `<family>/<loss>-<padding>`."""
    cells = ((each, each.partition("/")[2]) for each in ids)
    return [(f"{of(*parts(cell))} ({cell})", each) for each, cell in cells]
