"""Write the tables of README.md, docs/training.md and docs/photos.md anew, from what is in models/.

A table stands between `<!-- name -->` and `<!-- end -->`. Run by `make tables`; a test makes them
again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from nls_core import zoo
from nls_core.analysis.examples import read_examples
from nls_core.evidence import findings, out_of_fold_report, verdicts
from nls_core.evidence.cells import Table
from nls_core.families.recipe import Recipe
from nls_core.images import PREPROCESS, decode_image
from nls_core.settings import ROOT, Settings
from nls_core.training.grid import ABLATIONS
from nls_core.training.publish import SEARCH
from nls_core.types import Manifest

DEFAULT = Recipe()
SHORT = ("method", "gradcam", "eigencam")  # of the five methods, those that docs/photos.md shows


def claims(models_dir: Path) -> Table:
    """Every claim with its verdict."""
    found = findings.all_of(verdicts.read("fashion", models_dir))
    return [["claim", "verdict"], *([each.claim, each.verdict] for each in found)]


def shipped(models_dir: Path) -> Table:
    """What `nls models --markdown` prints."""
    return zoo.summary([zoo.read_manifest(i, models_dir) for i in zoo.available(models_dir)])


def search(models_dir: Path) -> Table:
    """The learning rates that were tried."""
    record = _json(models_dir / "fashion" / SEARCH)
    rows = [["loss", "learning rate", "accuracy %", "ECE-15 %", "NLL", ""]]
    for row in record["tried"]:
        chosen = record["chosen"][row["loss"]] == row["lr"]
        rows.append([row["loss"], f"{row['lr']:g}", *_ended(row), "chosen" if chosen else ""])
    return rows


def weight(models_dir: Path) -> Table:
    """The weights λ of nls_ls that were tried, with their smoothing and focal exponent."""
    ended = ["accuracy %", "ECE-15 %", "NLL", "confidence %"]
    rows = [["λ", "s", "γ", "learning rate", *ended, "epochs"]]
    for row in _json(models_dir / "fashion" / ABLATIONS)["ablations"]["weight"]:
        options = [
            f"{row['weight']:g}",
            f"{row.get('smoothing', DEFAULT.smoothing):g}",
            f"{row.get('gamma', DEFAULT.gamma):g}",
            f"{row['lr']:g}",
        ]
        confidence = f"{100 * row['val_confidence']:.2f}"
        rows.append([*options, *_ended(row), confidence, str(row["epochs"])])
    return rows


def _ended(row: dict[str, Any]) -> list[str]:
    """What a run ended with on the validation split."""
    shares = [f"{100 * row[key]:.2f}" for key in ("val_accuracy", "val_ece")]
    return [*shares, f"{row['val_nll']:.4f}"]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def _photos(models_dir: Path) -> list[Table]:
    """Every interval takes a thousand resamples: once for all the tables."""
    ids = zoo.available(models_dir, "photos")
    return out_of_fold_report.tables(out_of_fold_report.evaluate(ids, models_dir))


def of_photos(part: int) -> Callable[[Path], Table]:
    """The tables that `nls evaluate` prints of all photo models, the masks' shortened."""

    def make(models_dir: Path) -> Table:
        table = _photos(models_dir)[part]
        return table if part == 0 else [r for r in table if r[1] in SHORT or r[0] == "control"]

    return make


def hints(models_dir: Path) -> Table:
    """By which score each photo model tells other pictures, and how well."""
    rows = [["model", "score", "AUROC %", "threshold"]]
    for manifest in _manifests(models_dir, "photos"):
        found = manifest.ood
        values = (f"{100 * found['auroc']:.1f}", f"{found['threshold']:.3f}")
        rows.append([manifest.id, str(found["score"]), *values])
    return rows


def photographs(models_dir: Path) -> Table:
    """How many of the bundled photographs of known content each photo model names right."""
    rows = [["model", "right", "of", "%", "not named"]]
    for manifest in _manifests(models_dir, "photos"):
        answers = named(manifest.id, models_dir)
        wrong = ", ".join(sorted(title for title, right in answers.items() if not right))
        right = sum(answers.values())
        share = f"{100 * right / len(answers):.0f}"
        rows.append([manifest.id, str(right), str(len(answers)), share, wrong or "-"])
    return rows


def named(model_id: str, models_dir: Path) -> dict[str, bool]:
    """Title -> whether a model names the photograph right, of the bundled ones of known content."""
    model, manifest = zoo.load(model_id, models_dir)
    shown = pictures(manifest.family, manifest.preprocess, manifest.input_size, manifest.channels)
    asked = {title: each for title, each in shown.items() if each[0] in manifest.classes}
    answers = model(torch.cat([x for _, x in asked.values()])).argmax(1).tolist()
    return {
        title: manifest.classes[answer] == label
        for answer, (title, (label, _)) in zip(answers, asked.items(), strict=True)
    }


@cache
def pictures(family: str, preprocess: str, *shape: int) -> dict[str, tuple[str, torch.Tensor]]:
    """Title -> label, and the input of its models, of a family's examples not trained on."""
    return {
        each.title: (
            each.label,
            PREPROCESS[preprocess](decode_image(each.path.read_bytes()), *shape).x,
        )
        for each in read_examples(Settings())
        if each.family == family and not each.trained_on
    }


def _manifests(models_dir: Path, family: str) -> list[Manifest]:
    return [zoo.read_manifest(i, models_dir) for i in zoo.available(models_dir, family)]


PAGES: dict[str, dict[str, Callable[[Path], Table]]] = {
    "README.md": {"claims": claims, "models": shipped},
    "docs/training.md": {"search": search, "weight": weight},
    "docs/photos.md": {
        "variants": partial(out_of_fold_report.variants_table, "photos"),
        "calibration": of_photos(0),
        "clean": of_photos(1),
        "attacked": of_photos(2),
        "hints": hints,
        "photographs": photographs,
    },
}


def filled(page: str, text: str, models_dir: Path) -> str:
    """The text of a page of `PAGES` with its tables made anew.

    Raises:
        ValueError: the text has not exactly one place for a table.
    """
    for name, make in PAGES[page].items():
        text = findings.placed(text, name, findings.markdown(make(models_dir)), page)
    return text


def main() -> None:
    """Fill every page."""
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        made = filled(page, text, Settings().models_dir)
        path.write_text(made, encoding="utf-8")
        print(f"{page}: {'as it was' if made == text else 'changed'}")  # noqa: T201


if __name__ == "__main__":
    main()
