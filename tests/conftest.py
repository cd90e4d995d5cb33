"""Shared fixtures: seeded tiny models, so that tests are fast and repeatable."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["COLUMNS"] = "200"  # of tables; in the processes of xdist there is no terminal to ask
os.environ.setdefault("NLS_ALLOWED_HOSTS", "testserver")  # what starlette's client calls itself
os.environ.setdefault("NLS_RATE_LIMIT", "")  # tests ask faster than people
# two threads beside other work are far slower than one, here and in started processes
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# what takes seconds is imported where it is used: the process that gives tests to others, and
# waits, reads this file too
if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from fastapi import FastAPI
    from playwright.sync_api import Browser
    from starlette.testclient import TestClient
    from xdist.remote import Producer

    from nls_core import nets
    from nls_core.analysis.analyzer import Analyzer
    from nls_core.analysis.results import Analysis
    from nls_core.data import sample
    from nls_core.types import Manifest
    from tests.helpers.browsing import Look, Visit
    from tests.helpers.command import Nls
    from tests.helpers.sharing import ByApp

MARKERS = {  # by folder, or file beside them
    "browser": "browser",
    "training": "training",
    "test_third_family.py": "training",
    "test_ray_app.py": "app",
    "security": "app",
}
TINY = ("tiny/ce-zero", "tiny/nls-partial")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many ways to look at the app each flow is tried in."""
    parser.addoption(
        "--looks",
        choices=("two", "four"),
        default="two",
        help="the app's flows wide and light, narrow and dark; or in all four ways",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try each test that takes a `look` in all those that are wanted."""
    if "look" in metafunc.fixturenames:
        from tests.helpers.browsing import LOOKS

        names = list(LOOKS)[: {"two": 2, "four": 4}[metafunc.config.getoption("--looks")]]
        metafunc.parametrize("look", [LOOKS[name] for name in names], ids=names, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out, by its place.

    It comes first: with several processes, the long files should not come last.
    """
    for item in items:
        if mark := MARKERS.get(place_of(item)):
            item.add_marker(mark)
        if mark == "browser":
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: place_of(item) not in MARKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByApp:
    """Give the tests to processes so that each app is started once."""
    from tests.helpers.sharing import ByApp

    return ByApp(config, log)


def place_of(item: pytest.Item) -> str:
    """The folder in tests/ that holds it, or the file beside the folders."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture
def tiny_model() -> nets.Classifier:
    """A seeded 10-class net for (B, 1, 28, 28) in [0, 1], eval mode, weights frozen."""
    return make_model(channels=1)


@pytest.fixture
def tiny_images() -> torch.Tensor:
    """(6, 1, 28, 28) seeded images in [0, 1]."""
    import torch

    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(7))


def make_model(channels: int = 1, seed: int = 0, padding: str = "zero") -> nets.Classifier:
    """A seeded SmallResNet of width 8 with random batch-norm statistics, in eval mode."""
    import torch

    from nls_core import nets

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    net = nets.build("smallresnet-8", 10, channels, padding)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.random.set_rng_state(state)
    model = nets.Classifier(net, [0.5] * channels, [0.25] * channels).eval()
    return model.requires_grad_(False)


def tiny_manifest(model_id: str) -> Manifest:
    """A manifest for `make_model`, its figures made from seeded random predictions."""
    import torch

    from nls_core.metrics import calibration
    from nls_core.types import Manifest

    loss, padding = model_id.split("/")[1].split("-")
    generator = torch.Generator().manual_seed(len(model_id))
    probs = torch.randn(500, 10, generator=generator).mul(2).softmax(1)
    labels = torch.randint(0, 10, (500,), generator=generator)
    metrics = {name: metric(probs, labels) for name, metric in calibration.METRICS.items()}
    return Manifest(
        id=model_id,
        arch="smallresnet-8",
        padding=padding,
        loss=loss,
        loss_parameters={"gamma": 0.0},
        classes=tuple("abcdefghij"),
        channels=1,
        input_size=28,
        mean=(0.5,),
        std=(0.25,),
        preprocess="fashion",
        temperature=1.5,
        sha256="",
        seed=0,
        recipe={"dataset": "fashion-mnist", "epochs": 0},
        metrics={"images": 500}
        | metrics
        | {"ece_calibrated": metrics["ece"], "mean_confidence": 0.5},
        reliability={"plain": calibration.reliability(probs, labels).to_dict()},
        command="none: an untrained model of the tests",
    )


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two untrained models of `TINY` and 60 shipped test images.

    Tests do not write to it.
    """
    from nls_core import zoo
    from nls_core.data import sample

    folder = tmp_path_factory.mktemp("models")
    for seed, model_id in enumerate(TINY):
        manifest = tiny_manifest(model_id)
        zoo.store(make_model(seed=seed, padding=manifest.padding).net, manifest, folder)
    sample.write(shipped_sample().first(6), sample.path_of("tiny", folder))
    return folder


@pytest.fixture
def nls(
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Nls:
    """Run the `nls` command over the tiny models; see `tests.helpers.command`."""
    from tests.helpers.command import runner

    return runner(models_dir, tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="session")
def analyzer(models_dir: Path) -> Analyzer:
    """An analyzer over the tiny models that keeps nothing, so that every test computes."""
    from nls_core.analysis.analyzer import Analyzer
    from nls_core.settings import Settings

    return Analyzer(Settings(models_dir=models_dir, device="cpu", max_cache_bytes=0))


@pytest.fixture(scope="session")
def analysis(analyzer: Analyzer) -> Analysis:
    """A finished comparison of the tiny models on `picture_bytes`."""
    from nls_core.analysis.results import AnalysisRequest

    return analyzer.analyze(picture_bytes(), AnalysisRequest(models=TINY, steps=5))


@pytest.fixture(scope="session")
def api(models_dir: Path) -> FastAPI:
    """REST over the tiny models."""
    from nls_core.settings import Settings
    from nls_core.web.rest.api import create_api

    return create_api(Settings(models_dir=models_dir, device="cpu"))


@pytest.fixture(scope="session")
def client(api: FastAPI) -> Iterator[TestClient]:
    """A client of `api` that does not follow redirects."""
    from starlette.testclient import TestClient

    with TestClient(api, follow_redirects=False) as client:
        yield client


def shipped_sample() -> sample.Sample:
    """The test images of the family `fashion`."""
    from nls_core.data import sample
    from nls_core.settings import ROOT

    return sample.read("fashion", ROOT / "models")


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Where the real app with the real models answers."""
    from tests.helpers.browsing import serving

    with serving() as address:
        yield address


@pytest.fixture(scope="module")  # its event loop would be in the way of other tests
def browser() -> Iterator[Browser]:
    """See `browsing.chromium`."""
    from playwright.sync_api import sync_playwright

    from tests.helpers.browsing import chromium

    with sync_playwright() as playwright:
        browser = chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, url: str, look: Look) -> Iterator[Visit]:
    """Opens pages of the real app; see `browsing.visits`."""
    from tests.helpers.browsing import visits

    with visits(browser, url, look) as visit:
        yield visit


def picture_bytes(width: int = 60, height: int = 80) -> bytes:
    """A PNG of a dark, shaded shape on white, like a product photo."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:height, 0:width]
    inside = abs(columns - width / 2) < width / 4 + rows / height * width / 8
    inside &= (rows > 8) & (rows < height - 8)
    shade = np.where(inside, 60 + 100 * rows / height, 255).astype(np.uint8)
    picture = Image.fromarray(np.stack([shade, shade // 2 + shade // 4, shade], axis=2))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
