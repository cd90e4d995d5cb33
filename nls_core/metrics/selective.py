"""Does confidence separate right from wrong, and known from unknown? Rank metrics of confidence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nls_core.errors import InvalidInput, need


def error_auroc(probs: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve of top-1 confidence as a detector of right answers, in [0, 1].

    0.5 is chance. NaN where all answers are right, or all wrong.
    """
    confidence, index = probs.max(1)
    right = index == labels
    if bool(right.all()) or not bool(right.any()):
        return float("nan")
    return float(_torchmetrics("binary_auroc")(confidence.double(), right.long()))


def aurc(probs: Tensor, labels: Tensor) -> float:
    """Area under the risk-coverage curve (Geifman & El-Yaniv 2017, arXiv 1705.08500), in [0, 1].

    The mean, over all coverages, of the error rate among the most confident answers; lower is
    better. Equal confidences are taken in their given order.
    """
    confidence, index = probs.max(1)
    return _risk(confidence, (index != labels).double())


NORMS = (2, 3, 4, 5, 6)  # of `normalized_confidence`


def normalized_confidence(logits: Tensor, p: float) -> Tensor:
    """(N,) the largest of centred logits (N, K) over their p-norm (arXiv 2305.15508).

    What smoothing does to the largest logit, and with it to the order of confidences, is undone
    (arXiv 2403.14715).
    """
    z = logits.double() - logits.double().mean(1, keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(z, p, dim=1)
    return z.amax(1) / norm.clamp(min=1e-12)


def normalized_aurc(logits: Tensor, labels: Tensor, first: Tensor) -> float:
    """AURC, in [0, 1], by the confidence or one of its `NORMS`, chosen on the other answers.

    Args:
        logits: (N, K); labels: (N,).
        first: (N,) bool, one half of the answers; what is best for the one orders the other. The
            figure is the mean of both halves.
    """
    scores = [logits.softmax(1).amax(1), *(normalized_confidence(logits, p) for p in NORMS)]
    wrong = (logits.argmax(1) != labels).double()
    found = []
    for part in (first, ~first):
        best = min(scores, key=lambda score, other=~part: _risk(score[other], wrong[other]))  # type: ignore[misc]
        found.append(_risk(best[part], wrong[part]))
    return sum(found) / len(found)


def _risk(score: Tensor, wrong: Tensor) -> float:
    """The mean of `risks` over all coverages."""
    return float(risks(score, wrong)[1].mean())


def risks(score: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N,) from the highest down, and the share of wrong (N,) answers down to each."""
    ordered, order = score.sort(descending=True, stable=True)
    answered = torch.arange(1, len(wrong) + 1, dtype=torch.float64, device=wrong.device)
    return ordered, wrong[order].cumsum(0) / answered


def ood_auroc(known: Tensor, unknown: Tensor) -> float:
    """AUROC of top-1 confidence between known (N, K) and unknown (M, K) inputs' probabilities.

    Above 0.5 when known inputs get more confidence (Hendrycks & Gimpel 2016, arXiv 1610.02136).

    Raises:
        InvalidInput: one of them is empty.
    """
    if not len(known) or not len(unknown):
        raise InvalidInput(f"expected inputs of both kinds; got {len(known)} and {len(unknown)}")
    return auroc(known.amax(1), unknown.amax(1))


def auroc(known: Tensor, unknown: Tensor) -> float:
    """AUROC in [0, 1] of scores (N,) and (M,), none empty, that should be higher for the known."""
    scores = torch.cat([known, unknown]).double()
    kind = torch.cat([torch.ones(len(known)), torch.zeros(len(unknown))]).long()
    return float(_torchmetrics("binary_auroc")(scores, kind.to(scores.device)))


def _torchmetrics(name: str) -> Callable[..., Tensor]:
    """A function of torchmetrics, of the extra `train`: who shows what was measured needs none."""
    need("train", "torchmetrics")
    from torchmetrics.functional import classification  # noqa: PLC0415 - seconds, and 160 MB

    found: Callable[..., Tensor] = getattr(classification, name)
    return found


def _macro(name: str) -> Callable[[Tensor, Tensor], float]:
    def score(probs: Tensor, labels: Tensor) -> float:
        metric, classes = _torchmetrics(f"multiclass_{name}"), probs.shape[1]
        return float(metric(probs.argmax(1), labels, num_classes=classes, average="macro"))

    return score


METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "precision": _macro("precision"),
    "recall": _macro("recall"),
    "f1": _macro("f1_score"),
    "error_auroc": error_auroc,
    "aurc": aurc,
}
