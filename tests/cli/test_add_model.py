"""`nls add-model` and `nls train --family`: models of one's own, and what the app has of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from nls_core import zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.data import datasets
from nls_core.errors import InvalidInput
from nls_core.evidence import report
from nls_core.settings import Settings
from nls_core.training import adopted, libraries
from nls_core.views import sentences
from tests.conftest import TINY, picture_bytes
from tests.helpers.coloured import COLOURS, folders
from tests.helpers.command import Nls

VIT = "timm:test_vit.r160_in1k"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder, and weights of a vision transformer with three classes."""
    monkeypatch.setenv("NLS_MODELS_DIR", str(tmp_path / "own"))
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=3)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path


def test_a_transformer_with_its_data(nls: Nls, own: Path) -> None:
    data, weights = folders(own / "data"), str(own / "weights.safetensors")
    ended = nls("add-model", VIT, "--weights", weights, "--data", data, "--id", "mine/vit")
    assert ended.status == 0, ended.err
    model, manifest = zoo.load("mine/vit", own / "own")
    assert manifest.classes == COLOURS
    assert (manifest.arch, manifest.input_size) == (VIT, 160)
    test = datasets.load(f"{data}?size=160", own, "test")
    right = model(test.images.float() / 255).argmax(1) == test.labels
    assert manifest.metrics["accuracy"] == pytest.approx(float(right.float().mean()))
    assert f"accuracy {100 * manifest.metrics['accuracy']:.2f} %" in ended.out
    assert manifest.reliability["plain"]
    card = (own / "own" / "mine" / "vit" / zoo.CARD).read_text(encoding="utf-8")
    assert "license: other" in card  # nobody said whose the weights are
    assert manifest.ood["images"] == 4  # a tenth of the training images
    assert (
        manifest.command == f"nls add-model {VIT} --weights {weights} --data {data} --id mine/vit"
    )

    request = AnalysisRequest(models=("mine/vit",), epsilons=(4 / 255,), steps=2)
    answer = Analyzer(Settings(models_dir=own / "own")).analyze(picture_bytes(), request)
    assert answer.models[0].cam.layer == "net.blocks.5.norm1"
    assert answer.models[0].cam.values.shape == (10, 10)
    assert answer.models[0].sweep[0].linf == pytest.approx(4 / 255, rel=1e-3)


def test_without_data_it_is_said_what_is_missing(nls: Nls, own: Path) -> None:
    (own / "classes.txt").write_text("cat\ndog\n\nbird\n", encoding="utf-8")
    given = ["--weights", str(own / "weights.safetensors"), "--classes", str(own / "classes.txt")]
    ended = nls("add-model", VIT, *given)
    assert "without --data it has no temperature" in ended.out
    model_id = "own/test_vit-r160_in1k"
    assert zoo.read_manifest(model_id, own / "own").classes == ("cat", "dog", "bird")
    answer = Analyzer(Settings(models_dir=own / "own")).analyze(
        picture_bytes(), AnalysisRequest(models=(model_id,), epsilons=())
    )
    assert "no reliability data" in sentences.deserved(answer.models[0])


def test_a_folder_is_copied_and_checked(nls: Nls, own: Path, models_dir: Path) -> None:
    ended = nls("add-model", str(models_dir / TINY[0]), "--id", "copied/first")
    assert ended.status == 0, ended.err
    theirs, mine = zoo.load(TINY[0], models_dir), zoo.load("copied/first", own / "own")
    assert mine[1].sha256 == theirs[1].sha256
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(mine[0](x), theirs[0](x))
    bad = own / "bad"
    shutil.copytree(models_dir / TINY[0], bad)
    (bad / zoo.WEIGHTS).write_bytes(b"0")
    ended = nls("add-model", str(bad), "--id", "copied/second")
    assert (ended.status, zoo.available(own / "own")) == (1, ("copied/first",))
    assert "were altered" in ended.line


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere"], 2, "there is no folder 'nowhere'"),
        (["timm:nothing"], 2, "unknown network 'nothing'; timm has"),
        ([".", "--loss", "ce"], 2, "expected --loss with timm:NAME or torchvision:NAME only"),
        ([VIT, "--weights", "none.safetensors"], 1, "none.safetensors"),
        ([VIT, "--loss", "magic"], 2, "unknown loss 'magic'"),
        ([VIT, "--data", "imagefolder:none"], 1, "no folder none"),
    ],
)
def test_wrong_use(nls: Nls, own: Path, arguments: list[str], status: int, words: str) -> None:
    ended = nls("add-model", *arguments)
    assert (ended.status, zoo.available(own / "own")) == (status, ())
    assert words in ended.line


def test_weights_of_another_network_and_a_file_that_is_none(nls: Nls, own: Path) -> None:
    weights = str(own / "weights.safetensors")
    assert "with 1000 classes" in nls("add-model", VIT, "--weights", weights).line
    (own / "text").write_text("no tensors", encoding="utf-8")
    assert "no safetensors file" in nls("add-model", VIT, "--weights", str(own / "text")).line


def test_without_a_network_a_file_is_asked_for(
    nls: Nls, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("nls_core.zoo.hub.snapshot_download", fail)
    assert "give them as --weights FILE.safetensors" in nls("add-model", VIT).line
    assert "could not be fetched: no route to host" in nls("add-model", "hub:some/body").line


# ---------------------------------------------------------------- which logit is whose


def data(*classes: str) -> datasets.Data:
    count = len(classes)
    return datasets.Data(
        "d", torch.zeros(count, 3, 8, 8).byte(), torch.arange(count), classes, "center-crop"
    )


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [(("C", "a"), [2, 0]), (("n2", "n1"), [1, 0]), (("b_b, or so",), [3])],
)
def test_classes_are_found_by_name_or_synset(classes: tuple[str, ...], wanted: list[int]) -> None:
    model = ("a", "b", "c", "B b")
    made = adopted.relabelled(data(*classes), model, ("n1", "n2"))
    assert made.labels.tolist() == wanted
    assert made.classes == model


def test_a_class_that_the_model_does_not_know() -> None:
    with pytest.raises(InvalidInput, match=r"none of the model's 2 \(a, b, …\): \['z'\]"):
        adopted.relabelled(data("a", "z"), ("a", "b"), ())


@pytest.mark.parametrize("arch", ["timm:resnet18.a1_in1k", "torchvision:resnet18"])
def test_what_libraries_state_of_imagenet(arch: str) -> None:
    known = libraries.stated(arch)
    assert known.mean == (0.485, 0.456, 0.406)
    assert len(set(known.classes)) == 1000
    assert known.classes[0].startswith("tench")
    assert adopted.default_id(arch) == f"own/{arch.partition(':')[2].replace('.', '-')}"


# ---------------------------------------------------------------- a family of one's own


def test_the_pair_on_images_of_ones_own(nls: Nls, own: Path) -> None:
    where = ["--dataset", f"{folders(own / 'data')}?size=16", "--runs", str(own / "runs")]
    how = ["--arch", "smallresnet-8", "--epochs", "1", "--batch-size", "8", "--lr", "0.1"]
    ended = nls("train", "--family", "mine", *where, *how, "--jobs", "2", "--quiet")
    assert ended.status == 0, ended.err
    assert zoo.available(own / "own") == ("mine/ce-zero", "mine/nls-zero")
    record = report.read("mine", own / "own")
    assert set(record["cells"]) == {"ce-zero", "nls-zero", "ce_temperature-zero"}
    assert "ece_shift" in record["cells"]["nls-zero"]["metrics"]
    assert "robust" not in record["cells"]["nls-zero"]
    assert "nls evaluate --family mine" in ended.err
    made = zoo.read_manifest("mine/nls-zero", own / "own").recipe["training_command"]
    assert made.startswith("nls train --family mine --dataset")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--family", "fashion"], "fashion is a family of the project"),
        (["--family", "mine", "--seed", "3"], "it trains --seeds from 0 on"),
        (["--family", "mine", "--aberrations"], "has no ['aberrations']"),
        (["--grid", "fashion", "--family", "mine"], "sets these itself: ['family_name']"),
    ],
)
def test_wrong_use_of_a_family(nls: Nls, own: Path, arguments: list[str], words: str) -> None:
    ended = nls("train", *arguments)
    assert ended.status == 2
    assert words in ended.line
