"""The benchmark's arithmetic; its timings are nobody's pass or fail."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import torch

from nls_core.analysis import bench, bench_peers
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import Analysis
from tests.conftest import TINY, picture_bytes
from tests.helpers.scripts import script


def test_a_ratio_is_second_over_first() -> None:
    row = bench.compare(
        "sleep", ("short", lambda: time.sleep(0.002)), ("long", lambda: time.sleep(0.02)), 3
    )
    assert row.second_ms > row.first_ms
    assert row.ratio == round(row.second_ms / row.first_ms, 3) or row.ratio > 1


def test_every_comparison_runs(analyzer: Analyzer) -> None:
    rows = bench.run(analyzer, picture_bytes(), rounds=1)
    assert all(isinstance(row["ratio"], float) and row["ratio"] > 0 for row in rows)
    pairs = {(row["first"], row["second"]) for row in rows}
    optional = sum(map(bench_peers.there, ("captum", "foolbox")))
    assert len(rows) == 16 + optional
    names = {row["name"] for row in rows}
    assert names > {"PGD-10, more strengths", "PGD-10, more classes", "forward of 128 at 28 px"}
    assert {("bare compute", "nls_core"), ("torchattacks", "nls_core")} <= pairs
    assert ("grad-cam, torchattacks", "nls_core") in pairs
    # docs/findings.md quotes the one row with this name
    assert [row["name"] for row in rows if row["second"] == "partial padding"] == ["training step"]


def test_the_ways_that_are_timed_compute_the_same(analyzer: Analyzer) -> None:
    ways = bench_peers.pgd(analyzer, TINY[0])
    ours, peers = ways[bench_peers.OURS](), ways["torchattacks"]()
    assert isinstance(ours, torch.Tensor)
    assert isinstance(peers, list)
    torch.testing.assert_close(ours, torch.cat(peers), rtol=0, atol=1e-5)
    shape = (2, 1, 28, 28)
    zero, partial, mask = (
        bench_peers.forward("smallresnet-8", shape, kind)() for kind in ("zero", "partial", "mask")
    )
    assert isinstance(partial, torch.Tensor)
    assert isinstance(zero, torch.Tensor)
    torch.testing.assert_close(partial, mask)
    assert not torch.equal(partial, zero)


def test_the_loop_of_the_peers_finds_what_the_analyzer_finds(analyzer: Analyzer) -> None:
    ways = bench_peers.analysis(analyzer, TINY[0], picture_bytes())
    ours, peers = ways[bench_peers.OURS](), ways["grad-cam, torchattacks"]()
    assert isinstance(ours, Analysis)
    assert isinstance(peers, list)
    found = ours.models[0]
    assert len(peers) == len(found.sweep) + 1
    for (logits, _), point in zip(peers[1:], found.sweep, strict=True):
        np.testing.assert_allclose(point.prediction.logits, logits[0], rtol=1e-3, atol=1e-3)


def test_the_page_of_figures_says_which_aims_were_reached() -> None:
    work = ("a", lambda: time.sleep(0.01))
    rows = [asdict(bench.compare("same", work, work, 3, aim=aim)) for aim in (None, 100.0, 0.001)]
    assert all(row["first_spread_ms"] >= 0 for row in rows)
    lines = script("make_performance").page(rows).splitlines()
    ends = [line.split("|")[-3:-1] for line in lines if line.startswith("| same")]
    assert [end[1].strip() for end in ends] == ["", "yes", "no"]
    assert ends[1][0].strip() == "≤ 100.0"
