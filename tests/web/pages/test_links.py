"""A view as an address, and back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.links import GONE, Links, Pictures
from tests.conftest import TINY, picture_bytes


@pytest.fixture(scope="module")
def compare(analyzer: Analyzer) -> Compare:
    return Compare(analyzer)


@pytest.fixture
def links(compare: Compare) -> Links:
    return Links(compare)


def test_a_view_comes_back_whole(links: Links, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(picture_bytes())
    start = links.work.start("tiny")
    values = start | {
        "image": str(mine),
        "baseline": TINY[1],
        "candidate": TINY[0],
        "more": [TINY[0], TINY[1]],
        "attack": "pgd-l2",
        "epsilon": 0.75,
        "cam": "layercam",
        "target": "d",
        "towards": "f",
        "layer": links.work.analyzer.layers(TINY[0])[0],
        "scale": "raw",
        "steps": 3,
        "seed": 2**40,
    }
    query = links.query(values)
    assert links.read(f"?{query}") == (values, [])
    assert parse_qs(query)["picture"] == [hashlib.sha256(picture_bytes()).hexdigest()]
    assert links.read("") == (start, [])


@pytest.mark.parametrize(
    ("more", "words"), [("tiny/none", "unknown model 'tiny/none'"), (",".join(TINY * 3), "got 6")]
)
def test_further_models_are_of_the_family_and_at_most_four(
    links: Links, more: str, words: str
) -> None:
    values, (problem,) = links.read(f"family=tiny&more={more}")
    assert words in problem
    assert values["more"] == []


def test_a_bundled_picture_has_its_name_and_an_upload_of_it_too(
    links: Links, tmp_path: Path
) -> None:
    example = links.work.of_family("fashion")[0]
    copy = tmp_path / "copy.png"
    copy.write_bytes(example.path.read_bytes())
    name = f"fashion/{example.path.name}"
    assert links.pictures.name(copy) == links.pictures.name(example.path) == name
    assert links.read(f"picture={name}")[0]["image"] == str(example.path)


def test_a_picture_that_is_gone_is_said_and_the_rest_is_restored(
    links: Links, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(picture_bytes())
    start = links.work.start("tiny")
    query = links.query(start | {"image": str(mine), "seed": 7})
    mine.write_bytes(b"another")  # the place is another file's by now
    for _ in range(2):
        values, problems = links.read(query)
        assert problems == [GONE]
        assert values == start | {"seed": 7}
        mine.unlink(missing_ok=True)
    assert "picture" not in parse_qs(links.query(start | {"image": str(mine)}))
    assert "picture" not in parse_qs(links.query(start | {"image": None}))


@pytest.mark.parametrize(
    "picture",
    ["/etc/passwd", "../pyproject.toml", "examples.json", "fashion/../examples.json", "", "0" * 63],
)
def test_no_name_becomes_a_path(links: Links, picture: str) -> None:
    values, problems = links.read(f"picture={picture}&seed=1")
    assert values["image"] == links.work.start("tiny")["image"]
    assert len(problems) == (1 if picture else 0)  # an empty value is none
    assert values["seed"] == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("family=nobody", "unknown family"),
        ("baseline=tiny/no-such", "unknown model"),
        ("candidate=../x", "unknown"),
        ("attack=nuke", "unknown attack"),
        ("cam=x", "unknown cam"),
        ("target=Unicorn", "unknown class"),
        ("layer=net", "unknown layer"),
        ("scale=log", "unknown scale"),
        ("epsilon=nan", "epsilon must be a number in [0, 16]; got 'nan'"),
        ("epsilon=17", "epsilon must be a number in [0, 16]"),
        ("attack=pgd-l2&epsilon=5", "[0, 4]"),
        ("steps=0", "steps must be a whole number in [1, 100]"),
        ("steps=1.5", "steps must be a whole number"),
        ("seed=-1", "seed must be a whole number"),
        ("seed=" + "9" * 5000, "seed must be a whole number"),
    ],
)
def test_a_bad_value_is_said_and_replaced(links: Links, query: str, said: str) -> None:
    values, problems = links.read(query)
    start = links.work.start("tiny")
    assert len(problems) == 1
    assert said in problems[0]
    assert len(problems[0]) < 400
    different = {name for name in start if values[name] != start[name]}
    assert different <= {"attack"}


def test_what_is_not_ours_is_passed_over_and_the_first_of_two_counts(links: Links) -> None:
    values, problems = links.read("?__theme=dark&utm_source=x&seed=3&seed=4")
    assert problems == []
    assert values["seed"] == 3


def test_only_so_many_uploads_are_remembered(compare: Compare, tmp_path: Path) -> None:
    pictures, names = Pictures(compare, most=2), []
    for n in range(3):
        path = tmp_path / f"{n}.png"
        path.write_bytes(bytes([n]))
        names.append(pictures.name(path))
    assert [pictures.find(name) is None for name in names] == [True, False, False]


def test_all_attacks_and_maps_can_be_linked(links: Links) -> None:
    for name, registry in (("attack", ATTACKS), ("cam", CAMS)):
        for each in registry:
            assert links.read(urlencode({name: each}))[0][name] == each
