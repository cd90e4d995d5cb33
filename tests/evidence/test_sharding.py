"""Shards: together they are all, and the report after them is that of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from nls_core.errors import InvalidInput
from nls_core.evidence import groups, sharding
from nls_core.evidence.parts import PARTS, USUAL
from nls_core.evidence.sharding import Shard
from nls_core.settings import Settings
from tests.conftest import TINY
from tests.helpers.command import Nls
from tests.helpers.evidence import count, hurry
from tests.helpers.launching import in_two_processes
from tests.helpers.site import at_start

HURRIED = """import pytest
from nls_core.data import datasets
from tests.helpers.command import noise_data
from tests.helpers.evidence import hurry

hurry(pytest.MonkeyPatch())
datasets.DATASETS["noise"] = noise_data
"""
ASKED = ("evaluate", "--dataset", "noise", "--only", "clean,ood,attacks")


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_each_part_is_in_one_shard_and_each_kind_is_dealt_out(
    nls: Nls, models_dir: Path, shards: int
) -> None:
    """`nls` is here for its data set."""
    settings = Settings(models_dir=models_dir, device="cpu")
    (group,) = groups.of_models(TINY, settings, "noise", None, download=False)
    again = groups.Group(group.subjects, ["clean"])  # as those of another seed may need it again
    dealt = []
    for index in range(shards):
        shard = Shard(index, shards)
        wanted = group.wanted() + again.wanted()
        dealt.append([(name, part) for name, model, part in wanted if shard.has(model, part)])
        assert sum(part == "attacks" for _, part in dealt[-1]) <= -(-len(TINY) // shards)
    for name in TINY:
        for part in USUAL:
            assert sum((name, part) in found for found in dealt) == 1


def test_others_and_further_parts_are_wanted_too(nls: Nls, models_dir: Path) -> None:
    settings = Settings(models_dir=models_dir, device="cpu")
    (group,) = groups.of_models(TINY, settings, "noise", ["attacks"], download=False)
    one = {TINY[0]: group.subjects[TINY[0]]}
    made = groups.Group(one, ["attacks"], {"x": group.subjects[TINY[1]]}, {TINY[0]: list(PARTS)})
    wanted = [(name, part) for name, _, part in made.wanted()]
    assert sorted(wanted) == sorted([(TINY[0], part) for part in PARTS] + [("x", "attacks")])


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "-1/2", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a shard such as 1/2"):
        sharding.parse(text)


def test_shards_one_by_one_and_then_the_report(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    whole = nls(*ASKED, "--json", "--runs", str(tmp_path / "whole"))
    runs = tmp_path / "shards"
    for shard, parts in (("2/2", 3), ("1/2", 6)):
        ended = nls(*ASKED, "--runs", str(runs), "--shard", shard)
        assert (ended.status, ended.out) == (0, "")
        assert ended.line == f"shard {shard[0]} of 2: 3 parts are measured"
        assert count(runs / "evaluate") == parts
    times = {path: path.stat().st_mtime_ns for path in (runs / "evaluate").rglob("*.json")}
    assert nls(*ASKED, "--json", "--runs", str(runs)).out == whole.out
    assert {p: p.stat().st_mtime_ns for p in (runs / "evaluate").rglob("*.json")} == times


def test_two_processes_of_torchrun_report_as_one(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    whole = nls(*ASKED, "--json", "--runs", str(tmp_path / "whole"))
    at_start(monkeypatch, tmp_path / "start", HURRIED)
    done = in_two_processes("nls_core", *ASKED, "--json", "--runs", str(tmp_path / "two"))
    assert done.stdout == whole.out
    for index in (1, 2):
        assert f"shard {index} of 2: 3 parts are measured" in done.stderr
