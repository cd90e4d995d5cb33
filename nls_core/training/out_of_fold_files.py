"""What the protocol `out_of_fold` keeps in the folder of a family's runs, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.data import objects
from nls_core.errors import CheckpointError, InvalidInput, brief
from nls_core.families import Attacked
from nls_core.families.recipe import Recipe
from nls_core.training import finetune
from nls_core.training.out_of_fold import Cell, name_of
from nls_core.training.out_of_fold_search import Row

RESULT = "result.pt"  # a measured cell, in its folder
DATA = "data.json"  # of which objects the runs are
ZERO_SHOT = "zero-shot.pt"  # logits without training, in the folder of a padding


def same_data(collection: objects.Collection, folder: Path) -> None:
    """Note of which objects the runs of a folder are, or refuse those of others."""
    path, digest = folder / DATA, collection.digest()
    # folders of older versions have no note; they are of the one data set there was
    kept = files.read_json(path).get("digest") if path.exists() else digest
    if kept != digest:
        raise InvalidInput(
            f"the runs in {folder} are of other objects than those in {collection.root}; "
            "give another folder with --runs, or remove this one"
        )
    if not path.exists():
        files.write_json(path, {"digest": digest})


def folder_of(folder: Path, recipe: Recipe) -> Path:
    """Where the networks of a cell and seed are kept."""
    return folder / name_of(recipe) / f"seed{recipe.seed}"


def search_file(folder: Path, cell: str) -> Path:
    """Where the tries of a cell's search are kept."""
    return folder / "search" / f"{cell}.json"


def kept_search(folder: Path, cell: str, plan: Mapping[str, Any] | None = None) -> list[Row]:
    """The tries that are kept of a cell; with a plan, only if they are of that one."""
    path = search_file(folder, cell)
    kept = files.read_json(path) if path.exists() else {}
    rows: list[Row] = kept.get("rows", []) if plan in (None, kept.get("plan")) else []
    return rows


def to_dict(cell: Cell) -> dict[str, Any]:
    """A cell as its file holds it: of its recipe what decides a transfer, as 'plan'."""
    found = {f.name: getattr(cell, f.name) for f in fields(cell) if f.name != "recipe"}
    return {"plan": finetune.plan(cell.recipe)} | found


def asked_of(attacked: Attacked | None) -> dict[str, Any]:
    """The attacks as results hold them, by which those of other attacks are known."""
    return {} if attacked is None else asdict(attacked)


def read(path: Path, recipe: Recipe, attacked: Attacked | None) -> Cell | None:
    """A kept result, if it is there, of these attacks, and of the same recipe but for its settings.

    What a search found, the settings, are those of the result.

    Raises:
        CheckpointError: it is damaged.
    """
    if not path.exists():
        return None
    found = files.read_checkpoint(path)
    try:
        made = replace(recipe, **found.pop("plan"))
        same = (
            replace(made, lr=recipe.lr, smoothing=recipe.smoothing, weight=recipe.weight) == recipe
        )
        same &= found.get("asked", {}) == asked_of(attacked)
        return Cell(recipe=made, **found) if same else None
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{files.shown(path)} is damaged ({brief(error)}); remove it to train anew"
        ) from error
