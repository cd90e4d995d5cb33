"""Speed as ratios: two ways side by side in one run, the median of several rounds."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from nls_core import losses, nets
from nls_core.analysis import bench_growth, bench_peers
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.images import decode_image

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """Median milliseconds of two ways, and how many times as long the second takes.

    A spread is the distance between the quartiles in milliseconds; `aim` the ratio that is wanted
    at most, None where there is no such wish.
    """

    name: str
    first: str
    second: str
    first_ms: float
    second_ms: float
    ratio: float
    first_spread_ms: float
    second_spread_ms: float
    aim: float | None = None


def compare(
    name: str,
    first: tuple[str, Work],
    second: tuple[str, Work],
    rounds: int,
    aim: float | None = None,
) -> Ratio:
    """Time two ways in turn, so that a noisy machine troubles both alike."""
    ways = (first, second)
    for _, work in ways:
        work()  # warm-up
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for (_, work), spent in zip(ways, times, strict=True):
            begin = time.perf_counter()
            work()
            spent.append((time.perf_counter() - begin) * 1000)
    a, b = (statistics.median(spent) for spent in times)
    around_a, around_b = (round(_spread(spent), 2) for spent in times)
    return Ratio(
        name,
        first[0],
        second[0],
        round(a, 2),
        round(b, 2),
        round(b / a, 3),
        around_a,
        around_b,
        aim,
    )


def _spread(times: list[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def training_step(padding: str, loss: str = "ce") -> Work:
    """One step of the small residual net on 128 images, bf16 autocast."""
    torch.manual_seed(0)
    net = nets.build("smallresnet-16", 10, 1, padding).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    x = torch.rand(128, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (128,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(x)
        optimizer.zero_grad(set_to_none=True)
        losses.LOSSES[loss](logits, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def analysis(app_analyzer: Analyzer, models: tuple[str, ...], image: bytes) -> Work:
    """A whole analysis: decode, predict, GradCAM, FGSM at 8 strengths."""
    request = AnalysisRequest(
        models=models, attack="fgsm", epsilons=tuple(n / 255 for n in range(1, 9))
    )
    return lambda: app_analyzer.analyze(image, request)


def upload(image: bytes) -> bytes:
    """A picture as a 1024x768 JPEG, the size of what people upload."""
    buffer = io.BytesIO()
    decode_image(image).resize((1024, 768)).save(buffer, "JPEG")
    return buffer.getvalue()


def run(app_analyzer: Analyzer, image: bytes, rounds: int) -> list[dict[str, object]]:
    """All comparisons, as rows; first those that no thread of an analyzer may disturb."""
    sweep = bench_growth.Case(strengths=16)
    rows = forwards(rounds)
    rows += [
        compare(
            "training step",
            ("zero padding", training_step("zero")),
            ("partial padding", training_step("partial")),
            rounds,
            aim=1.05,
        ),
        compare(
            "training step",
            ("ce", training_step("zero")),
            ("nls", training_step("zero", "nls")),
            rounds,
        ),
        compare(
            "16-strength PGD-10",
            ("one batch", bench_growth.attack(sweep)),
            ("one by one", bench_growth.attack(sweep, at_once=1)),
            rounds,
        ),
        compare(
            "16-strength PGD-1 at 224 px",
            ("one batch", bench_growth.attack(bench_growth.PHOTO)),
            ("eight at once", bench_growth.attack(bench_growth.PHOTO, at_once=8)),
            rounds,
        ),
    ]
    picture = upload(image)
    for family in app_analyzer.families():
        mine = app_analyzer.ids(family)[:2]
        if len(mine) > 1:
            rows.append(
                compare(
                    f"analysis of 1024x768 by {family}, GradCAM and 8-step FGSM sweep",
                    ("one model", analysis(app_analyzer, mine[:1], picture)),
                    ("two models", analysis(app_analyzer, mine, picture)),
                    rounds,
                )
            )
        if mine:
            rows += beside_peers(app_analyzer, mine[0], image, rounds)
    return [asdict(row) for row in rows + growth(rounds)]


def beside_peers(app_analyzer: Analyzer, model_id: str, image: bytes, rounds: int) -> list[Ratio]:
    """One model's analysis and PGD sweep beside the bare compute and what others would write."""
    size = app_analyzer.manifest(model_id).input_size
    rows = _against(
        f"GradCAM and 8-step FGSM sweep at {size} px",
        bench_peers.analysis(app_analyzer, model_id, image),
        rounds,
        aim=0.1,
    )
    rows += _against(
        f"8-strength PGD-10 at {size} px",
        bench_peers.pgd(app_analyzer, model_id),
        rounds,
        aim=0.2 if size < 100 else 0.6,
    )
    return rows


def _against(what: str, ways: dict[str, Work], rounds: int, aim: float) -> list[Ratio]:
    """Ours against each other way; `aim` is that against what others would write."""
    ours = (bench_peers.OURS, ways.pop(bench_peers.OURS))
    aims = {bench_peers.BARE: 1.3}
    return [compare(what, way, ours, rounds, aim=aims.get(way[0], aim)) for way in ways.items()]


def forwards(rounds: int) -> list[Ratio]:
    """A forward with partial padding beside zero padding, and beside the mask-convolving way."""
    rows = []
    for arch, shape in (("smallresnet-16", (128, 1, 28, 28)), (nets.LITE0, (8, 3, 224, 224))):
        name = f"forward of {shape[0]} at {shape[2]} px"
        ways = {
            kind: bench_peers.forward(arch, shape, kind) for kind in ("zero", "partial", "mask")
        }
        partial = ("partial convolution", ways["partial"])
        rows.append(compare(name, ("zero convolution", ways["zero"]), partial, rounds, aim=1.03))
        rows.append(compare(name, ("mask-convolving form", ways["mask"]), partial, rounds))
    return rows


def growth(rounds: int) -> list[Ratio]:
    """PGD with 10 steps on the small net: what more of one thing costs."""
    rows = []
    for what, (less, more) in bench_growth.CASES.items():
        first, second = (bench_growth.attack(case) for case in (less, more))
        name = f"PGD-10, more {what}"
        rows.append(compare(name, (str(less), first), (str(more), second), rounds))
    return rows
