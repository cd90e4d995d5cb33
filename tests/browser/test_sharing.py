"""Links and code for a view, in the real app."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from nls_core.settings import ROOT
from tests.conftest import picture_bytes
from tests.helpers.browsing import Look, Visit, upload

EXAMPLE = "fashion/bag-0018.png"
VIEW = (
    "family=fashion&baseline=fashion/ce-zero&candidate=fashion/nls-zero&more=fashion/ls-zero&attack=fgsm&epsilon=7"
    "&cam=layercam&target=Bag&towards=Sandal&scale=raw&steps=2&seed=5"
)


def finished(page: Page, sign: str) -> None:
    """Wait until the whole comparison is there, and `sign` in its sentence."""
    page.wait_for_function(
        "sign => document.querySelector('.nls-sentence')?.innerText.includes(sign)"
        " && document.querySelector('#message').innerText.trim() === ''",
        arg=sign,
        timeout=120_000,
    )


def export(page: Page) -> dict[str, object]:
    """What 'Prepare JSON' gives."""
    page.get_by_role("button", name="Prepare JSON").click()
    link = page.locator("a[href*='nls-lab-comparison.json']").first
    expect(link).to_be_visible(timeout=30_000)
    with page.expect_download() as waiting:
        link.click()
    data: dict[str, object] = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    return data


def test_a_link_restores_the_view_and_its_code_gives_the_same_numbers(
    visit: Visit, look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(f"/ui/?{VIEW}&picture={EXAMPLE}&layer=x&__theme=dark", "#controls")
    finished(page, "16/255")
    expect(page.locator("#link-notice")).to_contain_text("unknown layer 'x'")
    assert page.get_by_label("Candidate", exact=True).input_value().endswith("(nls-zero)")
    expect(page.locator(".nls-strip").first).to_contain_text("L∞ 7.00/255")
    expect(page.locator(".nls-sentence")).to_contain_text("Under fgsm towards Sandal")
    page.wait_for_function("() => location.search.includes('layer=net.stage3')", timeout=20_000)
    assert f"{VIEW.partition('&scale')[0]}&layer=" in page.url
    assert page.url.endswith(f"picture={EXAMPLE}&__theme=dark")
    page.get_by_text("Numbers and export").click()
    expect(page.locator("#snippets details")).to_have_count(4, timeout=20_000)
    shown = export(page)
    code = dict(
        zip(
            page.locator("#snippets summary").all_inner_texts(),
            page.locator("#snippets pre").all_text_contents(),
            strict=True,
        )
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / Path(EXAMPLE).name).write_bytes((ROOT / "static/examples" / EXAMPLE).read_bytes())
    for name, text in code.items():
        if look.narrow and name != "Python":  # the texts are the same; one shows that
            continue
        assert answers(name, text) == pytest.approx(numbers(shown), abs=1e-5), name


def numbers(data: dict[str, object]) -> list[float]:
    """The confidences of an answer, clean and at every strength."""
    return [
        each["prediction"]["confidence"]
        for model in data["models"]  # type: ignore[attr-defined]
        for each in (model, *model["sweep"])
    ]


def answers(name: str, text: str) -> list[float]:
    """Run a snippet as a person would; gives `numbers` of what it computes."""
    if name in ("curl", "Command line"):
        words = shlex.split(text.replace("\\\n", ""))
        words = [sys.executable, "-m", "nls_core", *words[1:]] if words[0] == "nls" else words
        done = subprocess.run(words, capture_output=True, check=True, timeout=300)
        return numbers(json.loads(done.stdout))
    scope: dict[str, object] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(text, scope)
    if name == "gradio_client":
        return numbers(scope["answer"])  # type: ignore[arg-type]
    models = scope["analysis"].models  # type: ignore[attr-defined]
    found = [p.prediction.confidence for m in models for p in (m, *m.sweep)]
    assert f"{found[0]}" in printed.getvalue()
    return found


def test_a_link_to_an_upload_leads_to_it_while_it_is_kept(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "<b>mine.png"
    file.write_bytes(picture_bytes())
    page = visit(f"/ui/?{VIEW}&picture={EXAMPLE}", "#controls")
    finished(page, "fgsm")
    upload(page, file)
    page.wait_for_function(r"() => /picture=[0-9a-f]{64}/.test(location.search)", timeout=60_000)
    address = page.url[page.url.index("/ui/") :]
    page = visit(address, "#controls")
    finished(page, "fgsm")
    assert "In truth" not in page.locator(".nls-sentence").inner_text()  # no example
    expect(page.locator("#link-notice")).to_be_empty()
    unknown = re.sub(r"picture=\w+", f"picture={'0' * 64}", address)
    page = visit(unknown, "#controls")
    expect(page.locator("#link-notice")).to_contain_text("not kept here any more", timeout=20_000)
    assert page.get_by_label("Attack", exact=True).input_value() == "fgsm (weak)"
