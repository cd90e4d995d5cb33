"""`Analysis` -> words: what the models say, how that fares under attack, whether to believe it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nls_core.analysis import flip
from nls_core.analysis.results import Analysis, ModelAnalysis
from nls_core.attacks import ATTACKS
from nls_core.families import OUT_OF_FOLD, protocol_of
from nls_core.metrics import calibration, conformal, unfamiliar
from nls_core.types import FloatArray
from nls_core.views import names

TELLING = math.log2(1.25)  # flip points closer than that are called about the same
ROLES = ("baseline", "candidate")


def role(index: int) -> str:
    """What the model at `index` of a request is called in sentences."""
    return ROLES[index] if index < len(ROLES) else f"model {index + 1}"


def the(index: int) -> str:
    """`role` with its article: the third model and further ones have none."""
    return f"the {ROLES[index]}" if index < len(ROLES) else role(index)


def percent(share: float) -> str:
    """A share as a percentage; never rounded up to 100 % or down to 0 %."""
    return (
        f"{min(max(100 * share, 0.0), 100.0):.1f} %"
        if 0.0005 < share < 0.9995
        else (">99.9 %" if share > 0.5 else "<0.1 %")
    )


def epsilon_text(epsilon: float, attack: str) -> str:
    """ε as people write it: n/255 for L∞, the norm itself for L2."""
    if ATTACKS[attack].norm == "l2":
        return f"{epsilon:.3g} (L2)"
    return f"{epsilon * 255:.3g}/255"


def epsilon_axis(attack: str) -> tuple[float, str]:
    """What ε in pixel units is multiplied by on a chart's axis, and the title of that axis."""
    return (1.0, "ε (L2 norm)") if ATTACKS[attack].norm == "l2" else (255.0, "ε in 1/255")


def headline(analysis: Analysis) -> str:
    """What happened in plain words: who says what, and what little noise turns whom.

    Of the first two models; `others` tells the rest. By the flip points where the attack is
    theirs, away from the answer; else as `sentence`.
    """
    analysis = replace(analysis, models=analysis.models[: len(ROLES)])
    models, request = analysis.models, analysis.request
    if request.attack != flip.ATTACK or not request.epsilons or request.attack_target is not None:
        return sentence(analysis)
    if not all(model.flip_point for model in models):
        return answers(analysis)  # they are still searched for
    labels = [m.manifest.classes[m.prediction.index] for m in models]
    told = [f"{_who(analysis, i)} {_turned(model)}" for i, model in enumerate(models)]
    first = f"{_all(len(labels))} {labels[0]}" if len(set(labels)) == 1 else answers(analysis)[:-1]
    return f"{first}. Under attack, {', '.join(told)}{_ratio(analysis)}."


def others(analysis: Analysis) -> str:
    """What further models say of the clean picture, and where they turn; nothing of two."""
    told = []
    for model in analysis.models[len(ROLES) :]:
        name, said = names.of_manifest(model.manifest), model.manifest.classes
        turned = f", {_turned(model)}" if model.flip_point else ""
        sure = percent(model.prediction.confidence)
        told.append(f"{name}: {said[model.prediction.index]} ({sure}){turned}")
    return f"Beside them, {'; '.join(told)}." if told else ""


def _all(count: int) -> str:
    return {1: "The model says", 2: "Both say"}.get(count, "All say")


def _who(analysis: Analysis, index: int) -> str:
    return the(index) if len(analysis.models) > 1 else "it"


def _turned(model: ModelAnalysis) -> str:
    found = model.flip_point
    if found is None or found.epsilon is None or found.label is None:
        return f"was not found to turn up to {found.most * 255:g}/255" if found else ""
    return f"turns to {model.manifest.classes[found.label]} at {found.epsilon * 255:.2g}/255"


def _ratio(analysis: Analysis) -> str:
    """How many times as much noise the second of two models takes, where that is telling."""
    places = [m.flip_point.epsilon for m in analysis.models if m.flip_point]
    if len(places) != 2 or not all(places):
        return ""
    first, second = (float(place or 1) for place in places)
    if abs(math.log2(second / first)) < TELLING:
        return ""
    return f": {max(first, second) / min(first, second):.2g} times as {_less(first, second)}"


def _less(first: float, second: float) -> str:
    return "much noise" if second > first else "little noise"


def sentence(analysis: Analysis) -> str:
    """What happened at the strengths that were tried, in words."""
    first = answers(analysis)
    if not analysis.request.epsilons:
        return first
    second = "; ".join(_fate(analysis, i) for i in range(len(analysis.models)))
    return f"{first} Under {attack_text(analysis)}, {second}."


def attack_text(analysis: Analysis) -> str:
    """The attack, and the class that it aims at, if any."""
    attack, target = analysis.request.attack, analysis.request.attack_target
    return (
        attack
        if target is None
        else f"{attack} towards {analysis.models[0].manifest.classes[target]}"
    )


def answers(analysis: Analysis) -> str:
    """What the models say of the clean picture, and how sure they are."""
    names = [m.manifest.classes[m.prediction.index] for m in analysis.models]
    sure = [percent(m.prediction.confidence) for m in analysis.models]
    if len(set(names)) == 1 and len(names) > 1:
        each = ", ".join(f"{role(i)} {s}" for i, s in enumerate(sure))
        return f"{_all(len(names))} {names[0]} ({each})."
    parts = (f"{the(i)} says {n} ({s})" for i, (n, s) in enumerate(zip(names, sure, strict=True)))
    return capital("; ".join(parts)) + "."


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def _fate(analysis: Analysis, index: int) -> str:
    model, attack = analysis.models[index], analysis.request.attack
    hits, target = [p for p in model.sweep if p.success], analysis.request.attack_target
    if not hits:
        largest = epsilon_text(max(analysis.request.epsilons), attack)
        little = " (a weak one, so that proves little)" if ATTACKS[attack].weak else ""
        change = "label change" if target is None else f"way to {model.manifest.classes[target]}"
        return f"for {the(index)} no {change} was found up to ε = {largest} by this attack{little}"
    first = min(hits, key=lambda p: p.epsilon)
    clean = model.manifest.classes[model.prediction.index]
    after = model.manifest.classes[first.prediction.index]
    if clean == after:
        return f"{the(index)} is at the target {after} from the start"
    turned = "flips" if target is None else "is led"
    return (
        f"{the(index)} {turned} from {clean} to {after} at ε = "
        f"{epsilon_text(first.epsilon, attack)} ({percent(first.prediction.confidence)} sure)"
    )


def flip_point(model: ModelAnalysis) -> str:
    """The smallest ε found at which PGD changes the label, or that none was; nothing unless asked.

    ε to 1/16 of 1/255.
    """
    found = model.flip_point
    if found is None:
        return ""
    if found.epsilon is None or found.label is None:
        return f"flip point not found up to {found.most * 255:g}/255"
    after = model.manifest.classes[found.label]
    return f"flip point {found.epsilon * 255:.3g}/255: then {after}"


def turns(model: ModelAnalysis) -> str:
    """`flip_point` in fewest words."""
    found = model.flip_point
    if found is None:
        return ""
    if found.epsilon is None or found.label is None:
        return f"none found up to {found.most * 255:g}/255"
    return f"{found.epsilon * 255:.2g}/255, to {model.manifest.classes[found.label]}"


def calibration_error(model: ModelAnalysis) -> str:
    """How well calibrated a model was found, and on what; nothing where it was not measured."""
    manifest = model.manifest
    if "ece" not in manifest.metrics:
        return ""
    bins = calibration.BINS
    on = "out of fold" if protocol_of(manifest.id) == OUT_OF_FOLD else "test split"
    return f"ECE {100 * manifest.metrics['ece']:.1f} % ({bins} bins, {on})"


def no_better(analysis: Analysis) -> str:
    """That a candidate is not better calibrated than the baseline, or nothing."""
    baseline, *others = (m.manifest.metrics.get("ece") for m in analysis.models)
    worse = [
        f"{the(i)} is not better calibrated than the baseline: ECE {100 * ece:.1f} % against "
        f"{100 * baseline:.1f} %"
        for i, ece in enumerate(others, start=1)
        if ece is not None and baseline is not None and ece >= baseline
    ]
    return capital("; ".join(worse)) + "." if worse else ""


def facts(model: ModelAnalysis) -> tuple[str, ...]:
    """What stands beside a model's name: how calibrated it is, and its flip point."""
    return tuple(filter(None, (calibration_error(model), flip_point(model))))


def deserved(model: ModelAnalysis) -> str:
    """What test images of this confidence are worth, from the manifest's reliability data."""
    data = model.manifest.reliability.get("plain")
    if not data:
        return "no reliability data in the manifest"
    bins = calibration.Reliability.from_dict(data)
    i = calibration.bin_of(model.prediction.confidence, len(bins.counts))
    if not bins.counts[i]:
        return "no test image falls in this confidence bin"
    return (
        f"of {int(bins.counts[i]):,} test images between {100 * bins.edges[i]:.1f} and "
        f"{100 * bins.edges[i + 1]:.1f} % sure, {percent(bins.accuracy[i])} are right "
        f"(95 % interval {percent(bins.low[i])} to {percent(bins.high[i])})"
    )


@dataclass(frozen=True)
class Worth:
    """How sure a model is, the share that is right of test images that sure, and a verdict."""

    sure: float
    right: float
    text: str


def worth(model: ModelAnalysis) -> Worth | None:
    """`deserved` in fewest words; None where nothing was measured.

    Too sure: the bin's mean confidence lies above the 95 % interval of its accuracy.
    """
    data = model.manifest.reliability.get("plain")
    if not data:
        return None
    bins = calibration.Reliability.from_dict(data)
    i = calibration.bin_of(model.prediction.confidence, len(bins.counts))
    if not bins.counts[i]:
        return None
    mean, right = float(bins.confidence[i]), float(bins.accuracy[i])
    verdict = "yes"
    if mean > bins.high[i]:
        verdict = "too sure"
    elif mean < bins.low[i]:
        verdict = "could be surer"
    sure = model.prediction.confidence
    text = f"{verdict}: {percent(sure)} sure, of such {percent(right)} are right"
    return Worth(sure, right, text)


def hint(model: ModelAnalysis, x: FloatArray) -> str:
    """That the clean picture, of which x (C, H, W) is seen, may be of none of the classes."""
    verdict = unfamiliar.judge(model.manifest.ood, model.prediction.logits, x)
    return f"{verdict.sentence}." if verdict and verdict.unfamiliar else ""


def use(model: ModelAnalysis) -> str:
    """The prediction set of the clean picture, and whether to abstain; nothing without limits."""
    found = conformal.judge(model.manifest.limits, model.prediction.probabilities)
    if found is None:
        return ""
    names = " or ".join(model.manifest.classes[k] for k in found.classes)
    inside, wrong = (f"{100 * share:g} %" for share in (1 - found.miss, found.miss))
    told = f"Prediction set: {names} (such sets hold the true class for {inside} of test pictures)."
    if found.enough > 1:
        return f"{told} Abstain: at no confidence are at most {wrong} of the answers wrong."
    limit = f"of answers {percent(found.enough)} sure or more, at most {wrong} are wrong"
    return f"{told} {'Not sure enough, so abstain' if found.withheld else 'Sure enough'}: {limit}."
