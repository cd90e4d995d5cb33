"""The claim about activation maps, judged net of what maps without content have."""

from __future__ import annotations

import torch

from nls_core.evidence.cells import BASE, Cells, Table, label, metric, number, ordered
from nls_core.evidence.map_quality import NET, RANDOM, random_maps
from nls_core.evidence.verdicts import (
    MARGINS,
    Endpoint,
    Evidence,
    Finding,
    outcomes,
    verdict,
)
from nls_core.metrics import map_similarity

JUDGED = "nls-zero"
# metric -> what the claim is about, and which way is better, by docs/rules.md
ENDPOINTS: dict[str, tuple[str, int]] = {
    "map_drift_correlation": ("stability net of a uniform map's", 1),
    f"map_insertion_auc{NET}": ("insertion net of a random map's", 1),
    f"map_deletion_auc{NET}": ("deletion net of a random map's", -1),
    f"map_max_sensitivity{NET}": ("sensitivity net of a uniform map's", -1),
}
COLUMNS: dict[str, str] = {
    "map_drift_cosine": "cosine, clean and attacked",
    "map_drift_correlation": "less their means",
    "map_cross_cosine": "cosine to another image's",
    "map_cross_correlation": "less their means",
    "map_entropy": "entropy",
    "map_max_sensitivity": "sensitivity",
    f"map_max_sensitivity{NET}": "less the mean",
    "map_insertion_auc": "insertion AUC",
    f"map_insertion_auc{NET}": "less random",
    "map_deletion_auc": "deletion AUC",
    f"map_deletion_auc{NET}": "less random",
    "map_road": "ROAD",
    f"map_road{NET}": "less random",
    "map_average_drop": "average drop",
    "map_randomization_similarity": "similarity to a random model's",
    "map_border_mass": "mass on the border",
}
CELLS = (7, 7)  # of a map at the last stage
DRAWN = 200  # random maps, as many as there are images


def maps(evidence: Evidence) -> Finding:
    """The title's claim: efficient, adaptable activation maps; here their measured quality."""
    cells = evidence.cells
    endpoints = [
        Endpoint(
            shown, (metric(cells, JUDGED, name) or {}).get("vs_ce_zero"), side, MARGINS["maps"]
        )
        for name, (shown, side) in ENDPOINTS.items()
    ]
    text = (
        "GradCAM at the last stage, for the model's own answer; attacked by PGD at 4/255. "
        "Insertion and deletion rest on the softmax confidence, so a less confident model has "
        "smaller areas whatever its maps are; a nearly uniform map is stable whatever it shows. So "
        "the claim is judged net of both: of maps less their means, and of areas less those that "
        "maps of random cells have on the same model and images; these figures are of the runs "
        f"whose weights are kept.{_uniformity(cells)} {outcomes(endpoints)}"
    )
    return Finding(
        "maps",
        "Activation maps of normalized soft labels are better.",
        verdict(endpoints),
        text,
        table(cells),
        evidence.record["command"],
    )


def _uniformity(cells: Cells) -> str:
    """How uniform, and how alike for all images, the maps of `nls` are beside those of `ce`."""
    said = {
        "map_entropy": "an entropy of",
        "map_cross_cosine": "a cosine to another image's map of",
        "map_cross_correlation": "a correlation with it of",
    }
    parts = []
    for name, what in said.items():
        mine, base = metric(cells, JUDGED, name), metric(cells, BASE, name)
        if mine and base:
            parts.append(f"{what} {number(mine)} (`ce`: {number(base)})")
    return f" Maps of `nls` have {', '.join(parts)}; uniform ones 1, 1 and 0." if parts else ""


def table(cells: Cells) -> Table:
    """A row for each cell whose maps were measured, and the controls: random and uniform maps."""
    measured = [cell for cell in ordered(cells) if metric(cells, cell, "map_drift_cosine")]
    rows = [
        [label(cell), *(number(metric(cells, cell, name)) for name in COLUMNS)] for cell in measured
    ]
    controls = [
        _random_row(cells, cell)
        for cell in (BASE, JUDGED)
        if metric(cells, cell, f"map_insertion_auc{RANDOM}")
    ]
    return [["cell", *COLUMNS.values()], *rows, *controls, *([_uniform_row()] if controls else [])]


def _random_row(cells: Cells, cell: str) -> list[str]:
    """What maps of random cells get on the models of a cell."""
    drawn = random_maps(DRAWN, torch.empty(0, *CELLS))
    known = {
        "map_cross_cosine": map_similarity.cosine(drawn, drawn.roll(-1, 0)),
        "map_cross_correlation": map_similarity.correlation(drawn, drawn.roll(-1, 0)),
        "map_entropy": map_similarity.entropy(drawn),
    }
    shown = {name: f"{float(values.mean()):.3f}" for name, values in known.items()}
    for name in ("map_insertion_auc", "map_deletion_auc", "map_road"):
        shown[name] = number(metric(cells, cell, f"{name}{RANDOM}"))
    return [f"random maps, on {label(cell)}", *(shown.get(name, "-") for name in COLUMNS)]


def _uniform_row() -> list[str]:
    """What a uniform map has, whatever the model: it stands still, and has no order of pixels."""
    uniform = torch.ones(1, *CELLS)
    known = {
        "map_drift_cosine": map_similarity.cosine(uniform, uniform),
        "map_drift_correlation": map_similarity.correlation(uniform, uniform),
        "map_cross_cosine": map_similarity.cosine(uniform, uniform),
        "map_cross_correlation": map_similarity.correlation(uniform, uniform),
        "map_entropy": map_similarity.entropy(uniform),
        "map_max_sensitivity": map_similarity.norm(uniform - uniform),
    }
    shown = {name: f"{float(value):.3f}" for name, value in known.items()}
    return ["uniform maps", *(shown.get(name, "-") for name in COLUMNS)]
