"""/llms.txt: what the app is and where things are, in Markdown for programs (llmstxt.org)."""

from __future__ import annotations

from nls_core.analysis.analyzer import Analyzer
from nls_core.types import Manifest

TEXT = """# NLS Lab

> Compares image classifiers trained with one-hot labels, label smoothing and normalized soft labels
> (arXiv 2012.06876) on one picture: class activation maps, confidence before and after temperature
> scaling, and what adversarial perturbations do to both. Strengths are in 1/255 of the pixel range.

## Use it
- [REST in words](/docs): every route, with curl commands
- [OpenAPI](/openapi.json): the same for machines
- POST /api/v1/analyze: multipart form with `image` and `models` (comma-separated ids of one family)
- POST /mcp: the Model Context Protocol with one tool, `compare`, where the extra is installed
- [Pages](/ui): for people

## Models
{models}
"""


def text(analyzer: Analyzer) -> str:
    """The text, with the models that can be used and what was measured of them."""
    lines = [_line(analyzer.manifest(model_id)) for model_id in analyzer.ids()]
    return TEXT.format(models="\n".join(lines) or "None can be used at present.")


def _line(manifest: Manifest) -> str:
    found = manifest.metrics
    told = [
        f"{name} {100 * found[key]:.1f} %"
        for key, name in (("accuracy", "accuracy"), ("ece", "ECE-15"))
        if key in found
    ]
    figures = f": {', '.join(told)}" if told else ""
    return f"- [{manifest.id}](/api/v1/models/{manifest.id}){figures}"
