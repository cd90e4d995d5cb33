"""What the Compare page does, without its components: values in, an analysis or its views out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.analysis import choice, focus
from nls_core.analysis.analyzer import Analyzer, Progress
from nls_core.analysis.examples import Example, read_examples
from nls_core.analysis.focus import Marked
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import InvalidInput, choose
from nls_core.views import analysis_charts, focus_html, panels
from nls_core.web.edge import scratch
from nls_core.web.rest import schemas

STRENGTHS = 16  # the sweep is 1 … 16 of these units, so that moving ε computes nothing anew
UNIT = {"linf": 1 / 255, "l2": 1 / 4}
SLOW = 10  # forward passes for each step of an attack, above which a person is warned
AUTOMATIC = "its own prediction"
LARGE = 100  # pixels; above, a sweep of PGD takes too long to begin with
Values = Mapping[str, Any]  # the controls' values by name


def epsilon_label(attack: str) -> str:
    """What the ε slider counts for an attack."""
    unit = "in 1/255 per pixel (L∞)" if ATTACKS[attack].norm == "linf" else "in 1/4 (L2 norm)"
    return f"ε {unit}"


class Compare:
    """The page's work around one `Analyzer`."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self.examples = read_examples(analyzer.settings)
        self._known = {hashlib.sha256(e.path.read_bytes()).hexdigest(): e for e in self.examples}
        self.families = choice.opening(analyzer.families())

    def start(self, family: str) -> dict[str, Any]:
        """The values with which the page opens, or turns to another family."""
        baseline, candidate = self.analyzer.pair(family)
        return {
            "image": self.first_picture(family),
            "family": family,
            "baseline": baseline,
            "candidate": candidate,
            "attack": "fgsm" if self._large(baseline) else "pgd-linf",
            "epsilon": 4,
            "cam": "gradcam",
            "layer": self.analyzer.layers(baseline)[-1],
            "target": AUTOMATIC,
            "scale": "joint",
            "steps": 10,
            "seed": 0,
        }

    def first_picture(self, family: str) -> str:
        """The path of the picture that a family begins with."""
        return str((self.of_family(family) or self.examples)[0].path)

    def ids(self, family: str) -> list[str]:
        """The models of a family."""
        return list(self.analyzer.ids(family))

    def of_family(self, family: str) -> tuple[Example, ...]:
        """The examples of a family."""
        return tuple(e for e in self.examples if e.family == family)

    def targets(self, model_id: str) -> list[str]:
        """What the maps may explain: each model's own prediction, or a class."""
        return [AUTOMATIC, *self.analyzer.manifest(model_id).classes]

    def analyze(self, values: Values, progress: Progress = lambda done, what: None) -> Analysis:
        """Compute what the controls say; errors as `Analyzer.analyze`."""
        chosen = dict.fromkeys((values["baseline"], values["candidate"]))
        unit = UNIT[choose("attack", values["attack"], ATTACKS).norm]
        classes = self.analyzer.manifest(values["baseline"]).classes
        places = {AUTOMATIC: None} | {name: index for index, name in enumerate(classes)}
        target = choose("class", values["target"], places)
        request = AnalysisRequest(
            models=tuple(chosen),
            cam=values["cam"],
            layer=values["layer"],
            attack=values["attack"],
            epsilons=tuple(unit * n for n in range(1, STRENGTHS + 1)),
            target_class=target,
            steps=int(values["steps"]),
            seed=int(values["seed"] or 0),
        )
        return self.analyzer.analyze(read_upload(values["image"]), request, progress)

    def view(self, analysis: Analysis, values: Values) -> panels.View:
        """Which ε and which scale is shown, and the true class of an example."""
        example = self._example(analysis)
        truth = example.label if example else None
        return panels.View(int(values["epsilon"]) - 1, values["scale"], truth)

    def _example(self, analysis: Analysis) -> Example | None:
        """The example whose picture was analyzed, known by its content."""
        return self._known.get(analysis.sha256 or "")

    def known_mask(self, analysis: Analysis) -> focus.Mask | None:
        """The mask of the analyzed example's object, where it has one.

        Raises:
            InvalidInput: its file is damaged, or does not fit the picture.
        """
        example = self._example(analysis)
        if example is None or example.mask is None:
            return None
        geometry, settings = analysis.geometry, self.analyzer.settings
        size = (geometry.width, geometry.height)
        return focus.read_mask(example.mask.read_bytes(), size, settings)

    def slow_note(self, values: Values) -> str:
        """A warning for choices that take seconds, or nothing."""
        cost, slow = ATTACKS[values["attack"]].cost, []
        if CAMS[values["cam"]].cost is None:
            slow.append(f"{values['cam']} runs the model once for each channel")
        if cost > SLOW:
            slow.append(f"{values['attack']} asks the model again and again")
        if not slow and self._large(values["baseline"]) and cost:
            slow.append(f"many steps at {STRENGTHS} strengths on a large picture")
        return f" ({'; '.join(slow)}: this takes a few seconds)" if slow else ""

    def _large(self, model_id: str) -> bool:
        return self.analyzer.manifest(model_id).input_size > LARGE

    def show(self, analysis: Analysis, values: Values) -> list[Any]:
        """Result (HTML), sweep and two reliability charts (or None), numbers (HTML)."""
        view = self.view(analysis, values)
        plots = [
            analysis_charts.reliability_diagram(
                model.manifest.reliability["plain"],
                model.manifest,
                confidence=model.prediction.confidence,
            )
            if "plain" in model.manifest.reliability  # else nobody has measured it yet
            else None
            for model in analysis.models
        ]
        plots += [None] * (2 - len(plots))  # one model chosen twice is shown once
        return [
            panels.result(analysis, view),
            analysis_charts.confidence_sweep(analysis, view.index),
            *plots,
            panels.numbers(analysis),
        ]

    def answer(self, values: Values) -> dict[str, Any]:
        """The analysis as REST answers it."""
        return schemas.analysis_response(self.analyze(values)).model_dump(mode="json")

    def export(
        self, kind: str, analysis: Analysis, values: Values, marked: Marked | None = None
    ) -> Path:
        """Write an analysis to a new file: 'json', as REST answers, or 'html', a report.

        Where an object is marked, both hold the focus of every model.
        """
        view = self.view(analysis, values)
        if kind == "json":
            text = schemas.analysis_response(analysis, _focus(analysis, marked)).model_dump_json(
                indent=2
            )
        else:
            css = (self.analyzer.settings.static_dir / "style.css").read_text(encoding="utf-8")
            more = focus_html.report(analysis, view.index, marked) if marked else ""
            text = panels.report(analysis, css=css, view=view, more=more)
        path = scratch.fresh(self.analyzer.settings, f"nls-lab-comparison.{kind}")
        files.write_text(path, text)
        return path


def read_upload(path: str | None) -> bytes:
    """The bytes of an upload; old ones are swept from the disk.

    Raises:
        InvalidInput: there is none, or it is gone.
    """
    try:
        return Path(path or "").read_bytes()
    except OSError:
        raise InvalidInput(
            "expected a picture, but there is none, or it is no longer kept; upload it again"
        ) from None


def _focus(analysis: Analysis, marked: Marked | None) -> focus.FocusScores | None:
    """The scores where there are any: nothing marked, or nothing in the frame, is no error here."""
    try:
        return focus.score(analysis, marked.mask) if marked else None
    except InvalidInput:
        return None
