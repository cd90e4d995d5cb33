"""Whether the claims stand against fair baselines, and whether it is the loss that resists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nls_core.evidence.baselines import PRODUCTS, RIVAL, VS_RIVAL
from nls_core.evidence.cells import (
    BASE,
    WITH_T,
    Table,
    gap,
    label,
    metric,
    number,
    ordered,
    percent,
)
from nls_core.evidence.robustness import WORST
from nls_core.evidence.verdicts import (
    HOLDS,
    MARGINS,
    NOT,
    UNDECIDED,
    Endpoint,
    Evidence,
    Finding,
    outcomes,
    verdict,
)

FAIR, DECAY = "fair-baselines", "decay"
RIVALS = ("ls_tuned-zero", "focal_tuned-zero", "ce_decay-zero", "ce_early-zero")
JUDGED = ("ece", "nll", "brier", "aurc")
AT = ("2", "4")  # in 1/255
HEAD = [
    "cell", "setting", "seeds", "accuracy %", "ECE-15 %", "less that of nls", "NLL", "Brier",
    "AURC %", "ECE + T %", "NLL + T",
]  # fmt: skip
SHOWN = {"smoothing": "s", "gamma": "γ", "weight_decay": "weight decay", "lr": "rate"}


def fair(evidence: Evidence) -> Finding:
    """Calibration of `nls-zero` against baselines that were tuned as it was."""
    record = evidence.baselines
    judged = endpoints(record)
    text = (
        "`ls` and `focal` with the s and γ of the lowest validation NLL, `ce` with a weight decay "
        "of 5e-4, and `ce` at the epoch of its lowest validation NLL. Less is better in every "
        "figure judged; *better* means that `nls` has less than the baseline. One temperature, "
        f"fitted on the validation split, stands beside every loss. {outcomes(judged)}"
    )
    return Finding(
        FAIR,
        "Normalized soft labels calibrate better than fairly tuned baselines.",
        verdict(judged),
        text,
        table(record),
        str(record["command"]),
    )


def endpoints(record: Mapping[str, Any]) -> list[Endpoint]:
    """ECE, NLL, Brier score and AURC of each baseline less those of `nls-zero`."""
    return [
        Endpoint(
            f"{name} ({label(cell)})",
            (metric(record["cells"], cell, name) or {}).get(VS_RIVAL),
            1,  # what the baseline has more of is to the credit of nls
            MARGINS[name],
        )
        for cell in RIVALS
        for name in JUDGED
    ]


def table(record: Mapping[str, Any]) -> Table:
    """All cells of baselines.json."""
    cells = record["cells"]
    rows = []
    for cell in ordered(cells):
        found = {name: metric(cells, cell, name) for name in cells[cell]["metrics"]}
        rows.append(
            [
                label(cell),
                setting(record["settings"].get(cell, {})),
                str(len(cells[cell]["seeds"])),
                percent(found.get("accuracy")),
                percent(found.get("ece")),
                gap(found.get("ece"), VS_RIVAL),
                number(found.get("nll"), 4),
                number(found.get("brier"), 4),
                percent(found.get("aurc")),
                percent(found.get(f"ece{WITH_T}")),
                number(found.get(f"nll{WITH_T}"), 4),
            ]
        )
    return [HEAD, *rows]


def setting(values: Mapping[str, Any]) -> str:
    """What a baseline was trained with, in words; of a cell of the report '-'."""
    kept = {"ls": ("smoothing",), "focal": ("gamma",)}.get(str(values.get("loss")), ())
    shown = (*kept, "lr", "weight_decay")
    return ", ".join(f"{SHOWN[k]} {values[k]:g}" for k in shown if k in values) or "-"


def decay(evidence: Evidence) -> Finding:
    """Whether robustness is the loss's, or that of its learning rate times weight decay."""
    gaps = evidence.baselines["under_attack"]
    text = (
        "A loss that bears a larger learning rate also decays its weights faster: rate times "
        "weight decay is 1e-7 for `ce` and 4e-6 for `nls`. Here both have the product of `ce`, "
        "and both that of `nls`. Accuracy under the worst attack, differences in points over the "
        "same seeds and images; transfer counts the images of the shipped `ce-zero` and `nls-zero`."
    )
    keys = list(dict.fromkeys(key for each in gaps.values() for key in each))
    head = ["difference", *(f"{key}/255" for key in keys)]
    rows = [
        [name, *(gap({"vs_ce_zero": gaps[name].get(key)}) for key in keys)]
        for name in PRODUCTS
        if name in gaps
    ]
    return Finding(
        DECAY,
        "It is the loss, not faster weight decay, that resists attacks.",
        loss_or_decay(gaps),
        text,
        [head, *rows],
        str(evidence.baselines["command"]),
    )


def loss_or_decay(gaps: Mapping[str, Mapping[str, Any]]) -> str:
    """The verdict of docs/rules.md.

    The loss explains it where nls is ahead of ce at 2 and 4/255 with both products; decay does
    where ce gains from the larger one, and nls is ahead nowhere.
    """
    by_loss, by_loss_too, by_decay = (
        [_sign((gaps.get(name) or {}).get(key)) for key in AT] for name in PRODUCTS
    )
    loss = [*by_loss, *by_loss_too]
    if None in (*loss, *by_decay):
        return UNDECIDED
    if all(each == 1 for each in loss):
        return HOLDS
    if all(each == 1 for each in by_decay) and all(each == 0 for each in loss):
        return NOT
    return UNDECIDED


def _sign(found: Mapping[str, Any] | None) -> int | None:
    """1 or -1 where an interval excludes 0, else 0; None without one."""
    if not found or found["low"] is None:
        return None
    return int(found["low"] > 0) - int(found["high"] < 0)


def attacked(record: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that were measured under attack, for charts."""
    return {
        cell: each
        for cell, each in record["cells"].items()
        if WORST in each.get("robust", {}) and cell in {BASE, RIVAL, *sum(PRODUCTS.values(), ())}
    }
