"""What the documents say is what the files hold."""

from __future__ import annotations

import json
import re

import pytest

from nls_core import findings, photo_report, verdicts, zoo
from nls_core.settings import ROOT, Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_readme_shows_the_table_of_nls_models() -> None:
    models_dir = Settings().models_dir
    manifests = [zoo.read_manifest(i, models_dir) for i in zoo.available(models_dir)]
    for row in zoo.summary(manifests):
        assert f"| {' | '.join(row)} |" in README


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path) -> None:  # type: ignore[no-untyped-def]
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose):
        assert (path.parent / target).exists(), target


def test_the_two_commands_stand_in_the_first_screen() -> None:
    first = README.split("---", 2)[2].splitlines()[:25]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_recorded_search_is_what_the_training_page_shows() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    record = json.loads((Settings().models_dir / "fashion" / "search.json").read_text())
    for row in record["tried"]:
        shares = f"{100 * row['val_accuracy']:.2f} | {100 * row['val_ece']:.2f}"
        assert f"| {row['loss']} | {row['lr']:g} | {shares} | {row['val_nll']:.4f} |" in page
    for loss, rate in record["chosen"].items():
        tried = {r["lr"]: r["val_accuracy"] for r in record["tried"] if r["loss"] == loss}
        assert tried[rate] == max(tried.values())


def test_the_readme_shows_the_verdicts_of_the_findings() -> None:
    found = findings.all_of(verdicts.read("fashion", Settings().models_dir))
    for each in found:
        assert f"| {each.claim} | {each.verdict} |" in README


def test_the_ablation_of_the_weight_is_what_the_training_page_shows() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    record = json.loads((Settings().models_dir / "fashion" / "ablations.json").read_text())
    rows = record["ablations"]["weight"]
    assert rows
    for row in rows:
        shares = f"{100 * row['val_accuracy']:.2f} | {100 * row['val_ece']:.2f}"
        assert f"| {row['weight']:g} | {row['lr']:g} | {shares} | {row['val_nll']:.4f} |" in page


def test_the_page_on_photos_shows_what_nls_evaluate_prints() -> None:
    page = (ROOT / "docs" / "photos.md").read_text(encoding="utf-8")
    models_dir = Settings().models_dir
    ids = [i for i in zoo.available(models_dir) if i.startswith("photos/")]
    record = photo_report.evaluate(ids, models_dir)
    calibration, *masks = photo_report.tables(record)
    shown = [row for table in masks for row in table if row[1] in ("gradcam", "eigencam", "method")]
    for row in calibration + shown:
        assert f"| {' | '.join(row)} |" in page
    for row in photo_report.variants_table(models_dir):
        assert f"| {' | '.join(row)} |" in page
