"""Measure the examples with each family's opening pair, and choose the one that a page opens with.

    python scripts/measure_examples.py [--stories | --opening] [FAMILY …]   (make examples: all)

Of every example it finds both models' answers and flip points. The opening example is, of those
that both models read right and that were not trained on (objects with masks were), the one on which
they differ most: |log2 of the ratio of the flip points| (none found counts as twice the largest
strength) + |difference of the confidences|, in whichever direction. Writes
static/examples/measured.json, and opening-FAMILY.npz, the finished analysis of the opening example
as the page asks for it.

The stories beside the examples are chosen by the same numbers: the opening example (flips); that
of which a model is surest while it is wrong (overconfident); and, of those with a mask that both
read right, the one on whose object the least of a model's map lies (elsewhere). With --stories
these alone are chosen anew; with --opening, the analysis of the opening example is computed
anew and nothing is chosen. Run it again when models were trained anew: what is of other weights
is not used.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nls_core import families, files
from nls_core.analysis import flip, focus, stored, sweep
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.backend import Check
from nls_core.analysis.examples import MEASURED, Example, Seen, opening_file
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.results import Analysis
from nls_core.images import PREPROCESS, decode_image
from nls_core.settings import Settings
from nls_core.web.pages.compare_work import Compare

COMMAND = "python scripts/measure_examples.py"


def look(data: bytes, loaded: Loaded, check: Check) -> Seen:
    """What one model says of a picture, and its flip point."""
    manifest = loaded.manifest
    convert = PREPROCESS[manifest.preprocess]
    x = convert(decode_image(data), manifest.input_size, manifest.channels).x
    (answer,) = sweep.predictions(loaded.model(x), manifest.temperature)
    ladder = families.strengths_of(manifest.id).doubling()
    found = flip.find(loaded.model, x, answer.index, ladder=ladder)
    return Seen(
        manifest.classes[answer.index],
        round(answer.confidence, 5),
        None if found.epsilon is None else round(found.epsilon * 255, 6),
        round(found.most * 255, 6),
    )


def difference(seen: Mapping[str, Seen]) -> float:
    """How much two models differ on an example."""
    first, second = seen.values()
    flips = [2 * each.most if each.flip is None else each.flip for each in (first, second)]
    return abs(math.log2(flips[0] / flips[1])) + abs(first.confidence - second.confidence)


def may_open(example: Example, seen: Mapping[str, Seen]) -> bool:
    """Whether all models read an example right, and none was trained on it."""
    return not example.trained_on and all(s.label == example.label for s in seen.values())


def telling(analysis: Analysis) -> float:
    """The least strength in 1/255 at which one model has changed its answer and another has not.

    Else the least at which any has; else the largest.
    """
    changed = [[point.success for point in model.sweep] for model in analysis.models]
    strengths = [255 * epsilon for epsilon in analysis.request.epsilons]
    columns = list(zip(strengths, zip(*changed, strict=True), strict=True))
    apart = [strength for strength, each in columns if len(set(each)) > 1]
    some = [strength for strength, each in columns if any(each)]
    return round((apart or some or strengths[-1:])[0], 6)


def measure(compare: Compare, family: str) -> dict[str, Any]:
    """The entry of a family, and its opening analysis written."""
    analyzer, pair = compare.analyzer, compare.analyzer.pair(family)
    folder = analyzer.settings.static_dir / "examples"
    seen: dict[Example, dict[str, Seen]] = {}
    for example in compare.of_family(family):
        data = example.path.read_bytes()
        seen[example] = {i: analyzer.run(i, partial(look, data)) for i in dict.fromkeys(pair)}
        print(example.path.name, *(s.flip for s in seen[example].values()), flush=True)  # noqa: T201
    fair = [e for e in seen if may_open(e, seen[e])]
    opening = max(fair or list(seen), key=lambda e: difference(seen[e]))
    analysis = store(compare, family, opening.path)
    return {
        "weights": {i: analyzer.manifest(i).sha256 for i in pair},
        "opening": str(opening.path.relative_to(folder)),
        "epsilon": telling(analysis),
        "examples": {
            str(e.path.relative_to(folder)): {i: asdict(s) for i, s in each.items()}
            for e, each in seen.items()
        },
    }


def store(compare: Compare, family: str, opening: Path) -> Analysis:
    """Analyze a family's opening example as the page asks for it, and write that."""
    values = compare.start(family) | {"image": str(opening)}
    analysis = compare.analyzer.analyze(opening.read_bytes(), compare.controls.everything(values))
    stored.write(opening_file(compare.analyzer.settings, family), analysis)
    return analysis


def stories(compare: Compare, family: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stories of a family, from what was measured of its examples."""
    folder = compare.analyzer.settings.static_dir / "examples"
    known = {folder / file: seen for file, seen in entry["examples"].items()}
    found = [{"kind": "flips", "example": entry["opening"], "epsilon": entry["epsilon"]}]
    step = families.strengths_of(family).step

    def wrongly(example: Example) -> float:
        answers = known[example.path].values()
        return max((s["confidence"] for s in answers if s["label"] != example.label), default=0.0)

    surest = max(compare.of_family(family), key=wrongly)
    if wrongly(surest):
        path = str(surest.path.relative_to(folder))
        found.append({"kind": "overconfident", "example": path, "epsilon": step})
    shares = {
        example: focused(compare, example)
        for example in compare.of_family(family)
        if example.mask and all(s["label"] == example.label for s in known[example.path].values())
    }
    if shares:
        away = min(shares, key=lambda e: min(shares[e].values()))
        path = str(away.path.relative_to(folder))
        found.append(
            {"kind": "elsewhere", "example": path, "epsilon": entry["epsilon"]}
            | {"focus": shares[away]}
        )
    return [{"focus": {}} | each for each in found]


def focused(compare: Compare, example: Example) -> dict[str, float]:
    """Model id -> the share of its clean map on an example's object."""
    values = compare.start(example.family) | {"image": str(example.path)}
    analysis = compare.clean(values)
    mask = compare.known_mask(analysis)
    if mask is None:
        return {}
    scores = focus.score(analysis, mask).models
    return {m.manifest.id: round(s.clean, 5) for m, s in zip(analysis.models, scores, strict=True)}


def main(names: list[str], settings: Settings) -> None:
    """Measure some families' examples; the entries of the others stay."""
    path = settings.static_dir / "examples" / MEASURED
    known = files.read_json(path, dict)["families"] if path.exists() else {}
    # what is measured must not be answered by what was stored before
    analyzer = Analyzer(settings.model_copy(update={"max_seconds": 86_400}))
    analyzer.shelf.clear()
    compare = Compare(analyzer)
    chosen = [name for name in names if not name.startswith("--")]
    for family in chosen or [f for f in compare.families if compare.of_family(f)]:
        if "--opening" in names:
            store(compare, family, path.parent / known[family]["opening"])
            continue
        if "--stories" not in names:
            known[family] = measure(compare, family)
        known[family]["stories"] = stories(compare, family, known[family])
        text = {"command": COMMAND, "families": dict(sorted(known.items()))}
        files.write_text(path, json.dumps(text, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:], Settings())
