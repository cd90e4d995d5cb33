"""The page *Features*: what the last layer puts close together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.examples import Example, read_examples
from nls_core.analysis.features import NEIGHBOURS, VOTERS, Features
from nls_core.errors import NLSLabError
from nls_core.families import OUT_OF_FOLD, protocol_of
from nls_core.views import feature_map, names
from nls_core.web.pages import family_reports
from nls_core.web.pages.compare_work import read_upload
from nls_core.web.pages.widgets import (
    LANE,
    PRIVATE,
    PROGRESS,
    explained,
    gallery,
    intro,
    message,
    note,
    pictures,
    upload,
)

INTRO = """Each dot is a test image, drawn near those that the model's last layer finds similar.
Point at a dot, or tap it, to see the image; point at a class to see it alone. Put in a picture of
your own (✛) to see where it falls."""
METHOD = f"""<b>How it is made.</b> The features are what enters the last linear layer, computed
now, by this model, on test images that ship with it. t-SNE (van der Maaten &amp; Hinton 2008,
JMLR 9) flattens them: who is whose neighbour is kept, while the sizes of clusters and the gaps
between them say little. The two numbers do not depend on the flattening. <i>Vote</i>: how often
the {VOTERS} nearest other images, in all features, agree on the true class. <i>Silhouette</i>
(Rousseeuw 1987): how much closer an image is to its own class than to the next one, from -1 to 1.
Label smoothing is known to pull classes into tight clusters (Müller et al. 2019, arXiv 1906.02629).
t-SNE has no rule for a new picture: ✛ stands at the mean position of its {NEIGHBOURS} nearest
images, weighted by the inverse of their distance. Distances are Euclidean in feature space and
counted in the model's own median distance from a test image to its nearest other: 1 is usual,
and 0 is the very image (many examples are of the same test split)."""
SEEN = """The models that ship were trained on these objects, in other pictures: that they tell
them apart says little. What they make of objects that they never saw is in the figures of
<i>Calibration</i> and <i>Maps</i>, which are out of fold."""
NONE = "No family of models has test images beside it; scripts/make_sample.py makes them."


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Features", INTRO)
    work = Features(analyzer)
    if work.ids():
        FeaturesPage(work)
    else:
        gr.HTML(message(NONE, wrong=True))


class FeaturesPage:
    """The components, and what happens when one is touched."""

    def __init__(self, work: Features) -> None:
        self.work = work
        self.every = read_examples(work.analyzer.settings)
        families = work.families()
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                family = family_reports.menu(families)
                models = self._models(families[0])
                picture = upload(label="Your picture", height=190, elem_id="own")
                examples = gallery(self._gallery(families[0]), work.analyzer.settings)
            with gr.Column(scale=4, min_width=320):
                words = gr.HTML("", elem_id="message")
                rules = gr.HTML("", elem_id="rules", padding=False)
                drawn = gr.HTML("", elem_id="maps", min_height=420)
                near = gr.HTML("")
        note(METHOD)
        examples.select(self.pick, family, picture, **PRIVATE)
        family.input(self.other, family, [*models, picture, examples], **PRIVATE)
        # the sprite sheet is large and the same for all models of a family: it comes once
        gr.on(None, self.rules, family, rules, show_progress="hidden", **PRIVATE)
        gr.on(
            None,
            self.show,
            [*models, picture],
            [words, drawn, near],
            trigger_mode="always_last",
            **LANE,
            **PRIVATE,
        )

    def _models(self, family: str) -> list[gr.Dropdown]:
        ids, pair = names.menu(self.work.analyzer.ids(family)), self.work.analyzer.pair(family)
        labels = ("Baseline", "Candidate")
        return [gr.Dropdown(ids, value=v, label=n) for v, n in zip(pair, labels, strict=True)]

    def examples(self, family: str) -> list[Example]:
        """The bundled pictures of a family."""
        return [example for example in self.every if example.family == family]

    def _gallery(self, family: str) -> str:
        return pictures([(example.path, example.title) for example in self.examples(family)])

    def pick(self, family: str, event: gr.SelectData) -> str:
        """The path of the clicked example."""
        return str(self.examples(family)[int(event.index)].path)

    def other(self, family: str) -> list[Any]:
        """Fill the menus for another family, and take the picture away."""
        ids = names.menu(self.work.analyzer.ids(family))
        menus = [gr.update(choices=ids, value=i) for i in self.work.analyzer.pair(family)]
        return [*menus, None, self._gallery(family)]

    def rules(self, family: str) -> str:
        """The style rules with the sprite sheet, and what to know of the family's images."""
        classes = self.work.analyzer.manifest(self.work.analyzer.ids(family)[0]).classes
        seen = explained(SEEN) if protocol_of(family) == OUT_OF_FOLD else ""
        return feature_map.style(self.work.sample(family), classes) + seen

    def show(
        self, baseline: str, candidate: str, picture: str | None, progress: gr.Progress = PROGRESS
    ) -> list[Any]:
        """An error's sentence, the maps, and the neighbours of the picture; as HTML."""
        ids = list(dict.fromkeys((baseline, candidate)))  # one model chosen twice is shown once
        try:
            embeddings = [
                self.work.embedding(i, lambda done, what: progress(done, desc=what)) for i in ids
            ]
            placed: list[Any] = [None] * len(ids)
            if picture:
                image = self.work.analyzer.decode(read_upload(picture))
                placed = [self.work.place(e, image) for e in embeddings]
            classes = self.work.analyzer.manifest(baseline).classes
        except NLSLabError as error:
            return [message(str(error), wrong=True), gr.skip(), gr.skip()]
        rows = [
            feature_map.neighbours(e, new, classes)
            for e, new in zip(embeddings, placed, strict=True)
            if new is not None
        ]
        return ["", feature_map.maps(embeddings, placed, classes), "".join(rows)]
