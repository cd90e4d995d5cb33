"""All findings, and `docs/findings.md` made of them: claim, verdict, figure, table and command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nls_core import families, files
from nls_core.evidence import (
    aberration_claim,
    baseline_claims,
    map_claims,
    out_of_fold_claims,
    over_epochs,
    own_claims,
    paper_claims,
    verdicts,
)
from nls_core.evidence.cells import Table
from nls_core.evidence.over_epochs import Course
from nls_core.evidence.verdicts import Evidence, Finding

Claims = dict[str, Callable[[Evidence], Finding]]  # key -> what judges it
# on a test split, under shift and attacks, over seeds
FINDINGS: Claims = {
    "calibration": paper_claims.calibration,
    "robustness": paper_claims.robustness,
    "generalization": paper_claims.generalization,
    "convergence": paper_claims.convergence,
    "maps": map_claims.maps,
    "smoothing": own_claims.smoothing,
    "own-loss": own_claims.own_loss,
}
# protocol -> the claims that its reports can tell of, in the order of pages and documents
CLAIMS: dict[str, Claims] = {
    families.SPLIT: FINDINGS,
    families.OUT_OF_FOLD: {
        "calibration": out_of_fold_claims.calibration,
        "robustness": out_of_fold_claims.robustness,
        "generalization": out_of_fold_claims.generalization,
        "objects": out_of_fold_claims.objects,
        "own-loss": out_of_fold_claims.mixture,
    },
}
# claims about runs that not every family has: the field of `Evidence` -> its claims
FURTHER: dict[str, Claims] = {
    "baselines": {
        baseline_claims.FAIR: baseline_claims.fair,
        baseline_claims.DECAY: baseline_claims.decay,
    },
    "aberrations": {aberration_claim.KEY: aberration_claim.aberrations},
}
OVER_EPOCHS = "over-epochs"  # a section without a verdict
KEYS = tuple(dict.fromkeys(key for each in (*CLAIMS.values(), *FURTHER.values()) for key in each))
INTERVALS = {
    families.SPLIT: "over seeds; in brackets 95 % intervals of a difference that cover new seeds "
    "and new test\nimages: Student's t over the seeds, with the variance of {resamples} resamples "
    "of the images, or\nover the seeds alone for what has no figure per image.",
    families.OUT_OF_FOLD: "over seeds, where there are several; in brackets 95 % intervals of a "
    "difference over the objects\n({resamples} resamples, the renderings of an object drawn "
    "together), each answered by a network that\nnever saw it.",
}
HEAD = """# Findings: {family}

Made by `nls findings {family}` from what lies in `models/{family}`; a test makes it again and
compares. Shares are in per cent, mean ± standard deviation
{intervals} ECE has 15 equal-width, right-closed bins.
When a claim *holds*, *holds in part*, *does not hold* or is *undecided* was fixed before the runs:
[rules.md](rules.md).

| claim | verdict |
| --- | --- |
{verdicts}
"""


def all_of(evidence: Evidence) -> list[Finding]:
    """Every finding of a family, those of `FURTHER` where it has their runs."""
    claims = dict(CLAIMS[families.protocol_of(evidence.family)])
    for name, more in FURTHER.items():
        claims |= more if getattr(evidence, name) else {}
    return [make(evidence) for make in claims.values()]


def document(evidence: Evidence, courses: Sequence[Course] = ()) -> str:
    """`docs/findings.md`; with `courses` the first family's, which shows those of all families."""
    found = all_of(evidence)
    verdict_rows = "\n".join(f"| [{f.claim}](#{f.key}) | {f.verdict} |" for f in found)
    resamples = evidence.record["data"]["resamples"]
    intervals = INTERVALS[families.protocol_of(evidence.family)].format(resamples=resamples)
    head = HEAD.format(family=evidence.family, intervals=intervals, verdicts=verdict_rows)
    legend = "\n".join(f"- `{name}`: {meaning}" for name, meaning in evidence.attacks.items())
    sections = (section(each, evidence.family) for each in found)
    rest = [course_section(courses)] if courses else []
    return "\n".join([head, *sections, *rest, f"## Attacks\n{legend}\n"])


def course_section(courses: Sequence[Course]) -> str:
    """When networks become overconfident, in Markdown."""
    return f"""## {OVER_EPOCHS}
**{over_epochs.TITLE}**

![{over_epochs.TITLE}](images/{chart_name(OVER_EPOCHS, first())})

{over_epochs.sentence(courses)}

{markdown(over_epochs.table(courses))}
"""


def first() -> str:
    """The first declared family: its document has no family in its name."""
    return next(iter(families.FAMILIES))


def chart_name(key: str, family: str) -> str:
    """The file of a finding's chart in docs/images; the first family's has no family in it."""
    return f"finding-{key}.svg" if family == first() else f"finding-{family}-{key}.svg"


def document_path(family: str) -> Path:
    """Where the findings of a family are written by default: each has a document of its own."""
    return Path("docs") / ("findings.md" if family == first() else f"findings-{family}.md")


def section(finding: Finding, family: str) -> str:
    """One finding of a family in Markdown."""
    return f"""## {finding.key}
**{finding.claim}** Verdict: *{finding.verdict}*.

![{finding.claim}](images/{chart_name(finding.key, family)})

{finding.text.strip()}

{markdown(finding.table)}

Command: `{finding.command}`
"""


def markdown(table: Table) -> str:
    """A Markdown table; the first row is the head."""
    head, *rows = table
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def placed(text: str, name: str, made: str, page: str) -> str:
    """The text of a page with `made` between its `<!-- name -->` and `<!-- end -->`.

    Raises:
        ValueError: the text has not exactly one such place; `page` says where that is.
    """
    places = list(re.finditer(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL))
    if len(places) != 1:
        raise ValueError(
            f"expected one <!-- {name} --> … <!-- end --> in {page}; got {len(places)}"
        )
    begin, end = places[0].span(1)
    return text[:begin] + made + text[end:]


def write(family: str, models_dir: Path, to: Path) -> list[Finding]:
    """Write the document; returns the findings.

    Raises:
        CheckpointError: the family has no report, or a damaged one.
    """
    evidence = verdicts.read(family, models_dir)
    courses = over_epochs.read(models_dir) if family == first() else []
    files.write_text(to, document(evidence, courses))
    return all_of(evidence)
