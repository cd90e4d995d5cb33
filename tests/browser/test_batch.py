"""The page Batch in a real browser."""

from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import expect

from nls_core.settings import ROOT
from tests.helpers.browsing import Visit, choose

PICTURES = {"Bag": "bag-0018", "Sandal": "sandal-0008", "Coat": "coat-0006"}


def test_a_zip_is_answered_sorted_and_written(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "set.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for label, name in PICTURES.items():
            archive.write(ROOT / f"static/examples/fashion/{name}.png", f"{label}/{name}.png")
        archive.writestr("broken.png", b"nothing")
    page = visit("/ui/batch", "#batch-files")
    choose(page, "Family", "fashion")
    expect(page.get_by_text("cross-entropy (ce-zero)")).to_be_visible()
    expect(page.get_by_text("of at most 10 MB together")).to_be_visible()
    page.locator("#batch-files input[type=file]").set_input_files(str(file))
    expect(page.locator("#batch-files a[href*='set.zip']")).to_be_visible()  # it has arrived
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#message")).to_contain_text("4 of 4 pictures", timeout=90_000)
    expect(page.locator("#batch")).to_contain_text("broken.png: expected an image file")
    expect(page.locator("#batch")).to_contain_text("of 3")
    assert page.locator("#batch svg[role=img]").count() == 2
    names = page.locator(".nls-batch tbody tr td:nth-child(2)")
    page.get_by_role("button", name="picture").click()
    assert names.all_inner_texts() == sorted(f"{name}.png" for name in PICTURES.values())
    flips = page.get_by_role("button", name="cross-entropy (fashion/ce-zero): flip point")
    flips.click()
    up = page.locator(".nls-batch tbody tr td:nth-child(6)")
    places = [float(each) for each in up.evaluate_all("all => all.map(e => e.dataset.v)")]
    assert places == sorted(places)
    flips.click()
    assert flips.locator("xpath=..").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Prepare CSV").click()
    link = page.locator("a[href*='nls-lab-batch.csv']").first
    with page.expect_download() as waiting:
        link.click()
    assert len(Path(waiting.value.path()).read_text().splitlines()) == 1 + 3 * 2 + 1
