"""What the Compare page does, without its components: values in, an analysis or its views out."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nls_core.analysis import choice, focus
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.cache import Store
from nls_core.analysis.examples import Example, Measured, Story, read_examples, read_measured
from nls_core.analysis.focus import Marked
from nls_core.analysis.one_model import Progress
from nls_core.analysis.results import Analysis, AnalysisRequest, ModelAnalysis
from nls_core.errors import InvalidInput
from nls_core.views import analysis_charts, panels, stories
from nls_core.web.pages import exports
from nls_core.web.pages.controls import AUTOMATIC, AWAY, Controls, Values, epsilon_slider
from nls_core.web.rest import schemas

LONG = 2  # seconds of computing, from which on a person is told
# HTML, four charts as Plotly's JSON or None, HTML: text, which all sessions share
Shown = tuple[str, str, str, str | None, str | None, str]


class Compare:
    """The page's work around one `Analyzer`."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer, self.controls = analyzer, Controls(analyzer)
        self.examples = read_examples(analyzer.settings)
        self._known = {hashlib.sha256(e.path.read_bytes()).hexdigest(): e for e in self.examples}
        self._measured = read_measured(analyzer.settings)
        self.families = choice.opening(analyzer.families())
        self._kept: Store[Any] = analyzer.computed  # what is rendered counts with what is computed

    def start(self, family: str) -> dict[str, Any]:
        """The values with which the page opens, or turns to another family."""
        baseline, candidate = self.analyzer.pair(family)
        known = self.measured(family)
        return {
            "image": self.first_picture(family),
            "family": family,
            "baseline": baseline,
            "candidate": candidate,
            "more": [],
            "attack": AnalysisRequest.attack,
            "epsilon": epsilon_slider(
                baseline, AnalysisRequest.attack, known.epsilon if known else None
            )["value"],
            "cam": AnalysisRequest.cam,
            "layer": self.analyzer.layers(baseline)[-1],
            "target": AUTOMATIC,
            "towards": AWAY,
            "scale": "joint",
            "steps": AnalysisRequest.steps,
            "seed": AnalysisRequest.seed,
        }

    def first_picture(self, family: str) -> str:
        """The path of the picture that a family begins with."""
        known = self.measured(family)
        return str(known.opening if known else (self.of_family(family) or self.examples)[0].path)

    def measured(self, family: str) -> Measured | None:
        """What was measured of the examples, if by the pair that is served, and its weights."""
        known = self._measured.get(family)
        if known is None or set(known.weights) != set(self.analyzer.pair(family)):
            return None
        same = (self.analyzer.manifest(i).sha256 == sha for i, sha in known.weights.items())
        return known if all(same) and known.opening.is_file() else None

    def stories(self, family: str) -> list[tuple[Story, str]]:
        """What was measured of some examples, and in words; none where others are served."""
        known, told = self.measured(family), []
        if known is None:
            return []
        labels = {e.path: e.label for e in self.of_family(family)}
        for each in known.stories:
            seen = {i: known.seen[each.example][i] for i in self.analyzer.pair(family)}
            told.append((each, stories.story(each.kind, labels[each.example], seen, each)))
        return told

    def ids(self, family: str) -> list[str]:
        """The models of a family."""
        return list(self.analyzer.ids(family))

    def of_family(self, family: str) -> tuple[Example, ...]:
        """The examples of a family."""
        return tuple(e for e in self.examples if e.family == family)

    def targets(self, model_id: str) -> list[str]:
        """What the maps may explain: each model's own prediction, or a class."""
        return [AUTOMATIC, *self.analyzer.manifest(model_id).classes]

    def ways(self, model_id: str) -> list[str]:
        """Where an attack may lead: away from each model's answer, or to a class."""
        return [AWAY, *self.analyzer.manifest(model_id).classes]

    def clean(self, values: Values) -> Analysis:
        """What the models say of the picture as it is; errors as `Analyzer.analyze`."""
        return self.analyzer.analyze(read_upload(values["image"]), self.controls.request(values))

    def look(self, values: Values, progress: Progress = lambda done, what: None) -> Analysis:
        """At the strength that is shown, and at what is kept of the others; errors as `analyze`."""
        return self._analyze(values, [self.controls.shown(values)], progress, flips=False)

    def analyze(self, values: Values, progress: Progress = lambda done, what: None) -> Analysis:
        """The whole comparison; errors as `Analyzer.analyze`.

        Large pictures are attacked at the strengths that double, small ones at all of the slider.
        """
        return self._analyze(
            values, [self.controls.shown(values), *self.controls.usual(values)], progress
        )

    def _analyze(
        self,
        values: Values,
        strengths: Sequence[float | None],
        progress: Progress,
        *,
        flips: bool = True,
    ) -> Analysis:
        request = self._part(values, strengths, flips=flips)
        return self.analyzer.analyze(read_upload(values["image"]), request, progress)

    def _part(
        self, values: Values, strengths: Sequence[float | None], *, flips: bool = True
    ) -> AnalysisRequest:
        """Of all that the controls may ask, some strengths and those that are kept."""
        all_of_it = self.controls.everything(values)
        kept = self.analyzer.kept(read_upload(values["image"]), all_of_it)
        wanted = {*strengths, *kept.epsilons}
        epsilons = tuple(e for e in all_of_it.epsilons if e in wanted)
        return replace(all_of_it, epsilons=epsilons, flip_point=flips or kept.flip_point)

    def shown_request(self, values: Values) -> AnalysisRequest:
        """What `analyze` computes: all that the page shows once it is finished."""
        return self._part(values, [self.controls.shown(values), *self.controls.usual(values)])

    def is_ready(self, values: Values) -> bool:
        """Whether `look` has nothing to compute."""
        shown = self.controls.shown(values)
        request = self.controls.request(values, () if shown is None else (shown,))
        return self.analyzer.has(read_upload(values["image"]), request)

    def is_whole(self, values: Values) -> bool:
        """Whether `analyze` has nothing to compute."""
        request = self.controls.request(values, self.controls.usual(values), flips=True)
        return self.analyzer.has(read_upload(values["image"]), request)

    def opens(self, values: Values) -> bool:
        """Whether the page may open with these values: small pictures, and what is at hand."""
        return not self.controls.is_large(values["baseline"]) or self.is_whole(values)

    def view(self, analysis: Analysis, values: Values) -> panels.View:
        """Which ε and which scale is shown, and the true class of an example."""
        example = self._example(analysis)
        truth = example.label if example else None
        shown, epsilons = self.controls.shown(values), analysis.request.epsilons
        index = epsilons.index(shown) if shown in epsilons else None
        pending = shown is not None and index is None
        return panels.View(index, values["scale"], truth, pending)

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

    def duration(self, values: Values, *, whole: bool = False) -> str:
        """How long it will take to compute what is asked for, in words; nothing if not long.

        At the strength that is shown, or the `whole` comparison.
        """
        shown = self.controls.shown(values)
        epsilons = self.controls.usual(values) if whole else () if shown is None else (shown,)
        request = self.controls.request(values, epsilons, flips=whole)
        seconds = self.analyzer.expected(request)
        return f" (about {seconds:.0f} s)" if seconds is not None and seconds >= LONG else ""

    def question(self, values: Values) -> tuple[Hashable, ...]:
        """Names what is asked for: the picture by its content, and all that the controls say."""
        digest = hashlib.sha256(read_upload(values["image"])).hexdigest()
        told = (value for name, value in sorted(values.items()) if name != "image")
        return (digest, *(tuple(each) if isinstance(each, list) else each for each in told))

    def frames(self, values: Values) -> tuple[Hashable, str]:
        """What is shown at each strength that is computed (JSON), and what names it.

        Errors as `Analyzer.analyze`.
        """
        analysis, scale = self.look(values), values["scale"]
        weights = tuple(model.manifest.sha256 for model in analysis.models)
        key = ("frames", analysis.sha256, weights, analysis.request, scale)
        return key, self._kept.get_or_make(
            key, lambda: panels.frames(analysis, self.view(analysis, values))
        )

    def show(self, analysis: Analysis, values: Values) -> list[Any]:
        """Result (HTML), sweep, steps and two reliability charts (JSON or None), numbers (HTML).

        Made once for everybody who looks at the same.
        """
        view = self.view(analysis, values)
        weights = tuple(model.manifest.sha256 for model in analysis.models)
        key = ("shown", analysis.sha256, weights, analysis.request, view)

        def draw() -> Shown:
            return _show(analysis, view, [self._diagram(model) for model in analysis.models])

        # without a file's hash the key would be that of every such picture
        return list(self._kept.get_or_make(key, draw) if analysis.sha256 else draw())

    def _diagram(self, model: ModelAnalysis) -> str | None:
        """A model's reliability diagram (JSON), the same at each strength; None: not measured."""
        manifest, confidence = model.manifest, model.prediction.confidence
        if "plain" not in manifest.reliability:
            return None
        key = ("diagram", manifest.id, manifest.sha256, confidence)
        draw = analysis_charts.reliability_diagram
        made: str = self._kept.get_or_make(
            key,
            lambda: draw(manifest.reliability["plain"], manifest, confidence=confidence).to_json(),
        )
        return made

    def answer(self, values: Values) -> dict[str, Any]:
        """The analysis as REST answers it, at all strengths of the slider."""
        analysis = self.analyzer.analyze(
            read_upload(values["image"]), self.controls.everything(values)
        )
        return schemas.analysis_response(analysis).model_dump(mode="json")

    def export(
        self, kind: str, analysis: Analysis, values: Values, marked: Marked | None = None
    ) -> Path:
        """Write an analysis to a new file; see `exports.write`."""
        told = exports.Told(analysis, self.view(analysis, values), Path(values["image"]).name)
        return exports.write(self.analyzer.settings, kind, told, marked)


def _show(analysis: Analysis, view: panels.View, diagrams: Sequence[str | None]) -> Shown:
    first, second = (*diagrams, None)[:2]  # one model chosen twice is shown once
    sweep = analysis_charts.confidence_sweep(analysis, view.index).to_json()
    steps = analysis_charts.attack_steps(analysis, view.index, pending=view.pending).to_json()
    return (panels.result(analysis, view), sweep, steps, first, second, panels.numbers(analysis))


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
