"""Models as people call them: the loss and the padding in words, the id beside them."""

from __future__ import annotations

from collections.abc import Iterable

from nls_core import losses
from nls_core.evidence.cells import parts
from nls_core.padding import PADDINGS
from nls_core.types import Manifest


def of(loss: str, padding: str) -> str:
    """E.g. 'normalized soft labels, partial padding'; the usual padding, of zeros, goes unsaid."""
    title = losses.TITLES.get(loss, loss)
    return title if padding == "zero" else f"{title}, {padding} padding"


def of_manifest(manifest: Manifest) -> str:
    """What a model is called; one that was made elsewhere by its own name."""
    cell = manifest.id.partition("/")[2]
    named = cell == f"{manifest.loss}-{manifest.padding}"
    return of(manifest.loss, manifest.padding) if named else cell


def beside_id(manifest: Manifest) -> str:
    """E.g. 'cross-entropy (fashion/ce-zero)'."""
    name = of_manifest(manifest)
    return manifest.id if manifest.id.endswith(f"/{name}") else f"{name} ({manifest.id})"


def menu(ids: Iterable[str]) -> list[tuple[str, str]]:
    """(what a menu shows, id) of models, by their ids `<family>/<name>`."""
    cells = ((each, each.partition("/")[2]) for each in ids)
    return [(_listed(cell), each) for each, cell in cells]


def _listed(cell: str) -> str:
    loss, padding = parts(cell)
    known = loss in losses.LOSSES and padding in PADDINGS
    return f"{of(loss, padding)} ({cell})" if known else cell
