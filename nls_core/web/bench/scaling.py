"""One process beside replicas on Ray, and what a request costs: `nls bench --ray`.

All servers run at once and are asked in turn, so that what else the machine does meets all of them;
the figures are medians over the rounds.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from nls_core import cams
from nls_core.analysis.library import Library
from nls_core.errors import ExtraMissing
from nls_core.web.bench import load
from nls_core.web.bench.load import Speed
from nls_core.web.bench.process import App, serving

ALONE = "one process"
REPLICAS = (1, 2)
ROUNDS = 3
ASKED: dict[str, str | None] = {"prediction and map": "none", "usual attack": None}  # epsilons
SECONDS = {"prediction and map": 2.0, "usual attack": 4.0}  # of a load in each round
CLIENTS = {"prediction and map": (1, 8, 16), "usual attack": (1, 8)}
REPEATS = {28: 20, 224: 1}  # requests whose cost is measured, by the models' input size
Timed = tuple[Speed, float]  # and the processor seconds of all of the server's processes
BATCH = 8
PLACES = "64"  # more than there are clients: nobody is refused


@dataclass(frozen=True)
class Scaled:
    """A server under load: requests a second, what clients waited, and processor time a request.

    `beside` is the rate over that of one process in the same round. The processor time is that of
    all its processes, Ray's included, but not that of the clients.
    """

    asked: str
    server: str
    clients: int
    per_second: float
    beside: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a request, of a pair of models and without Ray."""

    family: str
    asked: str
    cpu_s: float
    answer_kb: float


@dataclass(frozen=True)
class Batch:
    """Processor time of one model's prediction and map of a picture: alone, and among `BATCH`."""

    model: str
    alone_ms: float
    in_a_batch_ms: float


@dataclass(frozen=True)
class Load:
    """What the clients ask, all of the same models, for how many seconds."""

    asked: str
    models: str
    clients: int
    seconds: float


def run(library: Library, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Start the servers and measure; only for Linux, which tells a process's time.

    Args:
        library: whose models are asked; under load, the pair with the smallest input.
        quick: one short round.

    Returns:
        Rows of `Scaled` ('load'), `Cost` and `Batch`.

    Raises:
        ExtraMissing: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ExtraMissing("this compares with Ray Serve, which is not installed", "ray")
    pairs = {name: library.pair(name) for name in library.families()}
    sizes = {name: library.manifest(ids[0]).input_size for name, ids in pairs.items()}
    models = ",".join(pairs[min(sizes, key=lambda name: sizes[name])])
    rounds = 1 if quick else ROUNDS
    loads = [Load(a, models, clients, SECONDS[a]) for a in ASKED for clients in CLIENTS[a]]
    with ExitStack() as stack:
        servers = {name: stack.enter_context(made) for name, made in _servers()}
        for app in servers.values():  # until every replica is warm
            _measure(app, replace(loads[0], clients=8), 0)
        rows = [row for each in loads for row in under(each, servers, rounds)]
        costs = [
            _cost(servers[ALONE], family, ids, asked, 1 if quick else REPEATS[sizes[family]])
            for family, ids in pairs.items()
            for asked in ASKED
        ]
    batches = [batching(library, ids[0], 1 if quick else 9) for ids in pairs.values()]
    found: dict[str, list[Any]] = {"load": rows, "cost": costs, "batch": batches}
    return {name: [asdict(row) for row in table] for name, table in found.items()}


def _servers() -> Iterator[tuple[str, Any]]:
    yield ALONE, serving(NLS_MAX_QUEUE=PLACES)
    for number in REPLICAS:
        scale = {"NLS_RAY_MIN_REPLICAS": str(number), "NLS_RAY_MAX_REPLICAS": str(number)}
        command = ("-m", "nls_core.ray_app")
        yield f"Ray, {number} replica(s)", serving(command, NLS_MAX_QUEUE=PLACES, **scale)


def under(what: Load, servers: Mapping[str, App], rounds: int) -> list[Scaled]:
    """What each server makes of a load, in turns; one of them is `ALONE`."""
    seen: dict[str, list[Timed]] = {name: [] for name in servers}
    for turn in range(rounds):
        for name, app in servers.items():
            seen[name].append(_measure(app, what, turn + 1))
    return [_row(name, what, found, seen[ALONE]) for name, found in seen.items()]


def _measure(app: App, what: Load, turn: int) -> Timed:
    """The speed, and the processor time of all the server's processes."""
    before = app.spent_by_all()
    ask = partial(load.ask_app, app, what.models, epsilons=ASKED[what.asked])
    first = 1_000_000 * (100 * turn + what.clients)  # a picture is asked for once
    speed = load.measure("", ask, what.clients, what.seconds, first=first)
    return speed, app.spent_by_all() - before


def _row(server: str, what: Load, found: Sequence[Timed], alone: Sequence[Timed]) -> Scaled:
    speeds = [speed for speed, _ in found]
    rates = ((s.per_second, a.per_second) for s, (a, _) in zip(speeds, alone, strict=True))
    beside = [rate / other if other else math.nan for rate, other in rates]
    # those that were answered after the end count for the time, and not for the rate
    costs = [
        1000 * spent / (what.seconds * speed.per_second + what.clients) for speed, spent in found
    ]
    return Scaled(
        what.asked,
        server,
        what.clients,
        round(statistics.median(s.per_second for s in speeds), 1),
        round(statistics.median(beside), 2),
        round(statistics.median(s.p50_ms for s in speeds), 1),
        round(statistics.median(s.p95_ms for s in speeds), 1),
        round(statistics.median(costs), 1),
    )


def _cost(app: App, family: str, ids: tuple[str, str], asked: str, repeats: int) -> Cost:
    ask = partial(load.ask_app, app, ",".join(ids), epsilons=ASKED[asked])
    ask(seed=10**9)  # loads the models
    before, size = app.spent(), 0
    for number in range(repeats):
        size = len(ask(seed=10**9 + 1 + number).body)
    return Cost(family, asked, round((app.spent() - before) / repeats, 3), round(size / 1000, 1))


def batching(library: Library, model_id: str, rounds: int) -> Batch:
    """What a picture would cost less if several requests shared a forward; on one thread."""
    loaded = library.load(model_id)
    shape, layer = (loaded.manifest.channels, loaded.manifest.input_size), [*loaded.layers][-1]
    x = torch.rand(BATCH, shape[0], shape[1], shape[1], generator=torch.Generator().manual_seed(0))

    def seconds(parts: Sequence[torch.Tensor]) -> float:
        begin = time.process_time()
        for part in parts:
            seen = cams.record(loaded.model, part, layer)
            cams.maps_of(loaded.model, part, seen, seen.logits.argmax(1).tolist())
        return time.process_time() - begin

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [(seconds(torch.split(x, 1)), seconds([x])) for _ in range(rounds)]
    finally:
        torch.set_num_threads(before)
    alone, together = (1000 * statistics.median(each) / BATCH for each in zip(*times, strict=True))
    return Batch(model_id, round(alone, 2), round(together, 2))
