"""Masked or robust? Words and a table of what attacks without a model's own gradient did."""

from __future__ import annotations

from html import escape

from nls_core.analysis.masking import QUERIES, Comparison, Tried
from nls_core.attacks import ATTACKS
from nls_core.views import html
from nls_core.views.sentences import capital, epsilon_text, role

BOUNDS = (
    "One picture and one strength: a stronger attack may find what these did not; the page "
    "Robustness has many pictures."
)


def result(found: Comparison) -> str:
    """A verdict for each model, and what it rests on."""
    words = "".join(f"<p>{escape(capital(verdict(found, i)))}</p>" for i in range(2))
    return (
        f'<div class="nls-masking" role="status">{words}{html.table(table(found))}'
        f'<p class="nls-explain">{escape(BOUNDS)}</p></div>'
    )


def verdict(found: Comparison, index: int) -> str:
    """What is to be concluded of one model, in words."""
    name, other = role(index), role(1 - index)
    own, tried = found.attack, found.tried[index]
    at = f"ε = {epsilon_text(found.epsilon, own)}"
    gradient = "its own gradient" if ATTACKS[own].takes_gradient else "it"
    if tried.verdict == "changed":
        return (
            f"the {name} is not robust at {at}: {own} against {gradient} changes its answer, so "
            "nothing is hidden from that attack."
        )
    if tried.verdict == "masked":
        who = finders(tried, other)
        do = "does" if len(who) == 1 else "do"
        return (
            f"the {name} may be masked at {at}: {own} does not change its answer, but "
            f"{' and '.join(who)} {do}, so that it withstood {own} is no robustness."
        )
    return (
        f"the {name} shows no sign of masking at {at}: neither {own} nor the {other}'s attacked "
        f"picture nor Square ({QUERIES} queries) changes its answer."
    )


def finders(tried: Tried, other: str) -> list[str]:
    """What changed the answer where the model's own attack did not."""
    found = {
        f"the {other}'s attacked picture": tried.transfer,
        f"Square ({QUERIES} queries, no gradient)": tried.square,
    }
    return [what for what, label in found.items() if label != tried.clean]


def table(found: Comparison) -> list[list[str]]:
    """What each model says of each picture."""
    rows = [["picture", *(role(i) for i in range(len(found.models)))]]
    names = {
        "clean": "clean",
        "own": f"attacked against itself ({found.attack})",
        "transfer": f"attacked against the other model ({found.attack}): transfer",
        "square": f"Square, {QUERIES} queries",
    }
    for key, name in names.items():
        said = (
            m.manifest.classes[getattr(t, key)]
            for m, t in zip(found.models, found.tried, strict=True)
        )
        rows.append([name, *said])
    return rows
