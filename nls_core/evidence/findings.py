"""All findings, and `docs/findings.md` made of them: claim, verdict, figure, table and command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nls_core import files
from nls_core.evidence import own_claims, paper_claims, verdicts
from nls_core.evidence.cells import Table
from nls_core.evidence.verdicts import Evidence, Finding

FINDINGS: dict[str, Callable[[Evidence], Finding]] = {
    "calibration": paper_claims.calibration,
    "robustness": paper_claims.robustness,
    "generalization": paper_claims.generalization,
    "convergence": paper_claims.convergence,
    "maps": paper_claims.maps,
    "smoothing": own_claims.smoothing,
    "own-loss": own_claims.own_loss,
}
HEAD = """# Findings: {family}

Made by `nls findings {family}` from `models/{family}/report.json`, `search.json` and
`ablations.json`; a test makes it again and compares. Shares are in per cent, mean ± standard
deviation over seeds; in brackets 95 % intervals of a difference, by a paired bootstrap over test
images and seeds ({resamples} resamples), or by Student's t over the seeds for what has no figure
per image. With one seed a bootstrap says nothing about other seeds. ECE has 15 equal-width,
right-closed bins. A claim *holds* where every interval lies on its side, *in part* where one does.

| claim | verdict |
| --- | --- |
{verdicts}
"""


def all_of(evidence: Evidence) -> list[Finding]:
    """Every finding of a family."""
    return [make(evidence) for make in FINDINGS.values()]


def document(evidence: Evidence) -> str:
    """`docs/findings.md`."""
    found = all_of(evidence)
    verdict_rows = "\n".join(f"| [{f.claim}](#{f.key}) | {f.verdict} |" for f in found)
    resamples = evidence.record["data"]["resamples"]
    head = HEAD.format(family=evidence.family, resamples=resamples, verdicts=verdict_rows)
    attacks = evidence.record["data"]["attacks"]
    legend = "\n".join(f"- `{name}`: {meaning}" for name, meaning in attacks.items())
    return "\n".join([head, *(section(each) for each in found), f"## Attacks\n{legend}\n"])


def section(finding: Finding) -> str:
    """One finding in Markdown."""
    return f"""## {finding.key}
**{finding.claim}** Verdict: *{finding.verdict}*.

![{finding.claim}](images/finding-{finding.key}.svg)

{finding.text.strip()}

{markdown(finding.table)}

Command: `{finding.command}`
"""


def markdown(table: Table) -> str:
    """A Markdown table; the first row is the head."""
    head, *rows = table
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def write(family: str, models_dir: Path, to: Path) -> list[Finding]:
    """Write the document; returns the findings.

    Raises:
        CheckpointError: the family has no report.
    """
    evidence = verdicts.read(family, models_dir)
    files.write_text(to, document(evidence))
    return all_of(evidence)
