"""The terms of the pages in a sentence or two each, explained where they stand.

`term` is a button that opens its text natively; static/explore.js opens it on hover and focus too.
`definitions` holds the texts, once on a page: what a button opens is found by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

ARXIV = "https://arxiv.org/abs/"


@dataclass(frozen=True)
class Term:
    """What it is called, what it means in plain words, and the arXiv id of its paper, if any."""

    title: str
    text: str
    arxiv: str = ""


TERMS: dict[str, Term] = {
    "epsilon": Term(
        "ε, epsilon",
        "How far an attack may move each pixel, out of 255 steps of brightness. At 1/255 nobody "
        "sees it. For attacks of the L2 norm it is the length of the whole change.",
        "1412.6572",
    ),
    "pgd": Term(
        "PGD, projected gradient descent",
        "An attack: many small steps, each along the sign of the gradient, in the direction in "
        "which the model's error grows, never further than ε from the picture.",
        "1706.06083",
    ),
    "fgsm": Term(
        "FGSM, fast gradient sign method",
        "The simplest attack: a single step of size ε. It is weak: that it fails proves nothing.",
        "1412.6572",
    ),
    "flip-point": Term(
        "Flip point",
        "The smallest strength found at which PGD changes the model's answer, to 1/16 of 1/255. "
        "A stronger attack may need less.",
    ),
    "ece": Term(
        "ECE, expected calibration error",
        "How far confidence is from accuracy on test pictures, on average. ECE-15: pictures are "
        "sorted by confidence into 15 bins of equal width, and in each the mean confidence is "
        "held against the share that is right. 0 is perfect.",
        "1706.04599",
    ),
    "deserved": Term(
        "Deserved confidence",
        "Of the test pictures of which the model was about as sure as of this one (the same of 15 "
        "bins), how many it got right. The answer is called too sure where the bin's mean "
        "confidence lies above the 95 % interval of that share, and not sure enough below it.",
        "1706.04599",
    ),
    "temperature": Term(
        "Temperature",
        "One number that all logits are divided by before they become probabilities. It changes "
        "how sure the model is, not what it says. It was fitted on pictures kept out of training.",
        "1706.04599",
    ),
    "prediction-set": Term(
        "Prediction set",
        "The classes that cannot be ruled out: such sets miss the true class in at most one of "
        "twenty test pictures. More than one class means that the model is undecided.",
        "2107.07511",
    ),
    "gradcam": Term(
        "Grad-CAM, an activation map",
        "Where the model looks for a class: the target layer's feature maps, weighted by how much "
        "each raises that class's logit. Bright is much, black is nothing.",
        "1610.02391",
    ),
    "target-layer": Term(
        "Target layer",
        "The layer of the network at which a map is taken. Late layers, the default, know what "
        "is there; early ones know better where.",
        "1610.02391",
    ),
    "partial-convolution": Term(
        "Partial padding",
        "At the edge of a picture a convolution sees padding. Partial convolution scales what it "
        "finds there by the share of the window that is picture, so that edges are not darkened.",
        "1811.11718",
    ),
    "normalized-labels": Term(
        "Normalized soft labels",
        "The loss this project is about: the error for the true class over the sum of the errors "
        "for all classes, with soft labels. Cross-entropy is the usual loss.",
        "2012.06876",
    ),
    "unfamiliar": Term(
        "Unfamiliar picture",
        "A classifier has to answer with one of its classes, whatever it sees. The hint comes "
        "where its logits are lower than for 95 % of held-out pictures of its own classes.",
        "2010.03759",
    ),
}
# what menus hold -> its term
ATTACK_TERMS = {"fgsm": "fgsm", "pgd-linf": "pgd", "pgd-l2": "pgd"}
PADDING_TERMS = {"partial": "partial-convolution"}


def term(key: str, label: str = "") -> str:
    """A word that explains itself, as HTML; `label` in place of the term's own title."""
    text = escape(label or TERMS[key].title)
    return (
        f'<button type="button" class="nls-term" popovertarget="term-{key}" '
        f'aria-describedby="term-{key}">{text}</button>'
    )


def definitions(*, linked: bool = True) -> str:
    """The texts of all terms, hidden until a `term` opens one; papers as links or as text."""
    return "".join(_definition(key, each, linked) for key, each in TERMS.items())


def _definition(key: str, each: Term, linked: bool) -> str:
    paper = f"arXiv {each.arxiv}" if each.arxiv else ""
    if linked and paper:
        paper = f'<a href="{ARXIV}{each.arxiv}" rel="noreferrer">{paper}</a>'
    return (
        f'<div popover id="term-{key}" class="nls-tip"><b>{escape(each.title)}</b> '
        f"{escape(each.text)} {paper}</div>"
    )
