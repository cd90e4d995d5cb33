"""Model cards, in Markdown with the Hub's front matter; every figure is a manifest's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nls_core import families
from nls_core.types import Manifest

WEIGHTS = "model.safetensors"
TAGS = ("calibration", "label-smoothing", "adversarial-robustness", "arxiv:2012.06876")
INDEXED = {  # metric of a manifest -> its type and name in a card's model-index
    "accuracy": ("accuracy", "accuracy"),
    "f1": ("f1", "F1, mean over classes"),
    "ece": ("expected_calibration_error", "ECE, 15 equal-width bins"),
    "ece_calibrated": ("expected_calibration_error", "ECE after temperature scaling, 15 bins"),
    "nll": ("nll", "negative log-likelihood"),
    "brier": ("brier_score", "Brier score"),
}


def card(manifest: Manifest) -> str:
    """The model card, in Markdown; every figure is the manifest's."""
    recipe = manifest.recipe
    rows = "\n".join(f"| {name} | {_shown(value)} |" for name, value in manifest.metrics.items())
    steps = "\n".join(f"| {name} | {_shown(value)} |" for name, value in recipe.items())
    parameters = ", ".join(f"{k} = {v}" for k, v in manifest.loss_parameters.items()) or "none"
    dataset = str(recipe.get("dataset", ""))
    protocol = families.protocol_of(manifest.id)
    public = "" if ":" in dataset else dataset  # a folder's path says nothing elsewhere
    return f"""---
license: {recipe.get("licence", "mit")}
library_name: nls-lab
pipeline_tag: image-classification
tags: {json.dumps([*TAGS, manifest.loss, f"{manifest.padding}-padding"])}
datasets: [{public}]
metrics: [accuracy, brier_score, f1, precision, recall]
model-index:
- name: {manifest.id}
  results: {json.dumps(_index(manifest, dataset if public else "images"))}
---
# {manifest.id}

{manifest.arch} trained with the loss `{manifest.loss}` ({parameters}) and {manifest.padding}
padding, for the comparison of baseline and calibrated classifiers in NLS Lab (method:
arXiv 2012.06876). It answers with one of: {", ".join(manifest.classes)}.

Not for decisions about people or goods: it knows {manifest.input_size}-pixel pictures of these
classes only, is confident on anything else too, and falls to small adversarial perturbations.

## Measured
{MEASURED[protocol].format(images=_shown(manifest.metrics.get("images", 0)))}
ECE with 15 equal-width, right-closed bins; fractions, not percent. Command: `{manifest.command}`

| metric | value |
| --- | --- |
{rows}
{_unfamiliar(manifest)}
## Training
Seed {manifest.seed}; the temperature {manifest.temperature:.4f} was fitted on {FITTED[protocol]}.

| setting | value |
| --- | --- |
{steps}

{_attribution(manifest.family, dataset)}
sha256 of `{WEIGHTS}`: `{manifest.sha256}`
"""


def _index(manifest: Manifest, dataset: str) -> list[dict[str, Any]]:
    """The results of a card's `model-index`, as the Hub reads them; none without figures."""
    split = "out of fold" if families.protocol_of(manifest.id) == families.OUT_OF_FOLD else "test"
    found = [
        {"type": kind, "name": name, "value": round(manifest.metrics[key], 6)}
        for key, (kind, name) in INDEXED.items()
        if key in manifest.metrics
    ]
    if not found:
        return []
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": dataset, "name": dataset, "split": split},
            "metrics": found,
        }
    ]


def _unfamiliar(manifest: Manifest) -> str:
    """The card's paragraph on pictures of no class, or nothing."""
    if not manifest.ood:
        return ""
    return f"""
A picture whose score is below a threshold may be of no class; of held-out pictures of the model's
own classes only the share `rate` is. {_shown(manifest.ood)}.
"""


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return str(value)


# protocol -> how the figures were measured, and on what the temperature was fitted
MEASURED: dict[str, str] = {
    families.SPLIT: "On {images} test images, with the float16 weights stored here;",
    families.OUT_OF_FOLD: """\
Out of fold: each of {images} objects, rendered once, was answered by one
of five networks that were trained like this one, on other objects; this one was trained on all. The
temperature behind the calibrated figures of a fold was fitted on the other folds. To compare with:
[zero-shot](../zero_shot.json), the same weights before any training of ours;""",
}
FITTED: dict[str, str] = {
    families.SPLIT: "the validation split",
    families.OUT_OF_FOLD: "the answers out of fold",
}


def _attribution(family: str, dataset: str) -> str:
    """Whose data and weights a model rests on: as its family says, or one with its data set."""
    known = families.FAMILIES.get(family)
    same = [each for each in families.FAMILIES.values() if each.recipe.dataset == dataset]
    found = [known] if known else same
    return found[0].attribution if found else ""
