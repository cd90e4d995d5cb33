"""The claims on a family that is measured out of fold: its endpoints are those that it has.

Nothing is measured there under shift or of gradient masking, and maps are judged by masks of the
objects. Where a cell has one run, its intervals cover new objects and no new trainings: then no
claim *holds* or is refuted, by docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from nls_core.evidence import own_claims, paper_claims
from nls_core.evidence.cells import BASE, Cells, gap, label, metric, number, ordered, percent
from nls_core.evidence.verdicts import (
    HOLDS,
    MARGINS,
    NOT,
    PARTLY,
    UNDECIDED,
    Endpoint,
    Evidence,
    Finding,
    conditions,
    endpoint,
    of_conditions,
    outcomes,
    verdict,
)

CANDIDATE, MIXTURE = "nls-zero", "nls_ls-zero"
METHOD = "gradcam"
MASK_SCORES = {"energy_inside": "energy inside", "pointing_game": "pointing game"}
STATES = ("clean", "attacked")
ONE_RUN = "One run of {cells}: the intervals cover new objects, no new trainings."
Judge = Callable[[Evidence], Finding]


def cautious(*judged: str) -> Callable[[Judge], Judge]:
    """A claim about some cells that is judged weaker where one of them, or `BASE`, has one run."""

    def decorate(judge: Judge) -> Judge:
        @wraps(judge)
        def weakened(evidence: Evidence) -> Finding:
            finding = judge(evidence)
            known = [each for each in (BASE, *judged) if each in evidence.cells]
            alone = [each for each in known if len(evidence.cells[each]["seeds"]) == 1]
            if not alone:
                return finding
            weaker = {HOLDS: PARTLY, NOT: UNDECIDED}.get(finding.verdict, finding.verdict)
            told = ONE_RUN.format(cells=" and of ".join(map(label, alone)))
            return replace(finding, verdict=weaker, text=f"{finding.text} {told}")

        return weakened

    return decorate


@cautious(CANDIDATE, "nls-partial")
def calibration(evidence: Evidence) -> Finding:
    """Claim 1: normalized soft labels calibrate."""
    return paper_claims.calibration(evidence)


@cautious(CANDIDATE)
def robustness(evidence: Evidence) -> Finding:
    """Claim 2: they resist adversarial attacks."""
    return paper_claims.robustness(evidence)


@cautious(CANDIDATE)
def generalization(evidence: Evidence) -> Finding:
    """Claim 3: they generalize: here, to objects that no network saw."""
    cells = evidence.cells
    kinds = sorted({m for c in cells.values() for m in c["metrics"] if m.startswith("accuracy_")})
    rows = [
        [
            label(cell),
            percent(metric(cells, cell, "accuracy")),
            gap(metric(cells, cell, "accuracy")),
            *(percent(metric(cells, cell, kind)) for kind in kinds),
        ]
        for cell in ordered(cells)
    ]
    endpoints = [endpoint(cells, CANDIDATE, "accuracy")]
    text = (
        f"In accuracy on objects that no network saw, `nls` differs from `{BASE}` by "
        f"{gap(metric(cells, CANDIDATE, 'accuracy'))} points. {outcomes(endpoints)}"
    )
    head = ["cell", "accuracy %", "difference to ce-zero"]
    head += [f"{kind.removeprefix('accuracy_')}s %" for kind in kinds]
    return paper_claims.generalizing(evidence, endpoints, text, [head, *rows])


@cautious(CANDIDATE)
def objects(evidence: Evidence) -> Finding:
    """The title's claim: do the maps lie on the objects?"""
    cells = evidence.cells
    scored = [cell for cell in ordered(cells) if "masks" in cells[cell]]
    endpoints = [
        Endpoint(f"{shown}, {state}", _mask(cells, CANDIDATE, state, score), 1, MARGINS["maps"])
        for state in STATES
        for score, shown in MASK_SCORES.items()
    ]
    rows = [
        [
            label(cell),
            *(
                f"{100 * cells[cell]['masks'][state][METHOD][score]['value']:.1f}"
                for state in STATES
                for score in MASK_SCORES
            ),
        ]
        for cell in scored
    ]
    head = ["cell", *(f"{shown} %, {state}" for state in STATES for shown in MASK_SCORES.values())]
    text = (
        "GradCAM at the last layer, for the class that the network names, on masks of objects that "
        f"it never saw; attacked by PGD. {outcomes(endpoints)}"
    )
    return Finding(
        "objects",
        "Activation maps of normalized soft labels lie better on the object.",
        verdict(endpoints),
        text,
        [head, *rows],
        evidence.record["command"],
    )


@cautious(MIXTURE)
def mixture(evidence: Evidence) -> Finding:
    """This project's aim for pretrained weights, as docs/rules.md fixed it."""
    cells = evidence.cells
    ece, nll = (metric(cells, MIXTURE, name) or {} for name in ("ece", "nll"))
    ends = {
        "an ECE of at most half": ece.get("vs_half_of_ce_zero"),
        "an NLL at most 0.005 higher": nll.get("vs_ce_zero"),
    }
    limits = dict(zip(ends, (0.0, MARGINS["nll"]), strict=True))
    met = {
        name: end["high"] <= limits[name]
        for name, end in ends.items()
        if end and end["high"] is not None
    }
    base = metric(cells, BASE, "ece")
    text = (
        "`nls_ls` is nls + λ·ls. The aim: at most half the ECE of `ce` and no higher NLL, by the "
        "upper ends of their intervals. "
        f"Its ECE is {percent(ece or None)} % (`ce`: {percent(base)} %), a difference of "
        f"{gap(ece)} points. {conditions(met)}"
    )
    head = ["cell", "accuracy %", "ECE-15 %", "difference to ce-zero", "NLL", "best T"]
    rows = [
        [
            label(cell),
            *(percent(metric(cells, cell, name)) for name in ("accuracy", "ece")),
            gap(metric(cells, cell, "ece")),
            number(metric(cells, cell, "nll")),
            number(metric(cells, cell, "temperature")),
        ]
        for cell in own_claims.summed(cells)
    ]
    return Finding(
        "own-loss",
        "A sum of both halves the calibration error of ce, from pretrained weights too.",
        of_conditions(met if len(met) == len(ends) else {}),
        text,
        [head, *rows],
        evidence.record["command"],
    )


def _mask(cells: Cells, cell: str, state: str, score: str) -> Any:
    """The difference in a mask score to the baseline, or None."""
    found = cells.get(cell, {}).get("masks", {}).get(state, {}).get(METHOD, {})
    return found.get(score, {}).get("difference")
