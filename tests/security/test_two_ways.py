"""One file over REST and through the page: the same answer to the last digit, or both refuse."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nls_core.web.bench.process import multipart
from tests.conftest import TINY
from tests.helpers.scripts import script
from tests.security import corpus
from tests.security.served import Served
from tests.security.stranger import Stranger

Logits = list[list[float]] | None  # of each model; None: refused
SECONDS = 3.0  # for any file


def logits(answer: Any) -> list[list[float]]:
    return [list(model["prediction"]["probabilities"].values()) for model in answer["models"]]


def by_rest(app: Served, data: bytes) -> Logits:
    # the page's request: its strengths do not matter, since only clean predictions are compared
    form: dict[str, Any] = {"models": ",".join(TINY), "attack": "fgsm", "epsilons": "1"}
    answer = app.ask("POST", "/api/v1/analyze", *multipart(form | {"image": ("a.png", data)}))
    assert answer.status in (200, 413, 422), answer.text
    return logits(answer.json()) if answer.status == 200 else None


def by_page(stranger: Stranger, number: int, data: bytes, name: str) -> Logits:
    image = stranger.upload(data, name)
    answer = stranger.ask(number, [image, *TINY, "fgsm", "gradcam"])
    return logits(answer["output"]["data"][0]) if answer["success"] else None


def both_ways(app: Served, files: dict[str, bytes]) -> dict[str, tuple[Logits, Logits]]:
    """What REST and the page say of files, by name; some at a time, since the page lets wait."""
    compare = Stranger(app).event("compare")

    def ask(data: bytes) -> tuple[Logits, Logits]:
        return by_rest(app, data), by_page(Stranger(app), compare, data, "a.png")

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(files, pool.map(ask, files.values()), strict=True))


def test_odd_files_mean_the_same_both_ways(served: Served) -> None:
    files = {name: data for name, data, _ in list(corpus.odd())[::2]}
    assert len(files) >= 60
    answers = both_ways(served, files)
    assert [name for name, (rest, page) in answers.items() if rest is None or rest != page] == []


def test_hostile_files_are_refused_both_ways(served: Served) -> None:
    every = list(corpus.hostile())
    # Gradio's upload refuses what is empty
    files = {name: data for name, data in every[:: len(every) // 60] if data}
    assert len(files) >= 60
    answers = both_ways(served, files)
    assert [name for name, both in answers.items() if both != (None, None)] == []
    assert served.ask("GET", "/healthz").status == 200
    assert not any(line.get("event") == "crashed" for line in served.lines())


def test_the_app_refuses_them_at_once(served: Served, tmp_path: Path) -> None:
    wanted = (
        "a line of",
        "black JPEG of 3,000 scans",
        "APNG",
        "PNG 16384x16384",
        "large JPEG of 60",
    )
    files = [(name, data) for name, data in corpus.hostile() if name.startswith(wanted)]
    assert len(files) >= len(wanted)
    url = f"http://127.0.0.1:{served.port}"
    post: Callable[[Path], object] = script("try_images").poster(url)
    for name, data in files:
        path = tmp_path / name
        path.write_bytes(data)
        tried = post(path)
        assert tried.outcome.startswith("422"), tried  # type: ignore[attr-defined]
        assert tried.seconds < SECONDS, tried  # type: ignore[attr-defined]
        with urllib.request.urlopen(f"{url}/readyz", timeout=SECONDS) as answer:
            assert answer.status == 200
