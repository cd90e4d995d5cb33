"""Many clients at once: requests a second, and how long each waited."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from nls_core.web.bench.process import Answer, App, multipart
from nls_core.web.bench.visitors import picture

ANALYZE = "/api/v1/analyze"


@dataclass(frozen=True)
class Speed:
    """What clients saw of a server: requests a second, and quantiles in milliseconds.

    `refused` were answered with 503; they do not count as requests.
    """

    server: str
    clients: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int


def ask_app(app: App, models: str, seed: int, epsilons: str | None = "none") -> Answer:
    """One analysis, by default without an attack: of a picture that was not asked for before."""
    fields: dict[str, str | tuple[str, bytes]] = {
        "image": ("a.png", picture(seed)),
        "models": models,
    }
    if epsilons is not None:
        fields["epsilons"] = epsilons
    return app.ask("POST", ANALYZE, *multipart(fields))


def measure(
    server: str, ask: Callable[[int], Answer], clients: int, seconds: float, first: int = 0
) -> Speed:
    """Let clients ask one request after the other.

    Args:
        server: its name in the table.
        ask: does the request of a number; each number is asked once.
        clients: that ask at the same time.
        seconds: how long; what is not answered by then is not counted.
        first: number of the first request.
    """
    times: list[float] = []
    numbers, refused, lock = iter(range(first, first + 10**9)), [0], threading.Lock()
    end = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < end:
            with lock:
                number = next(numbers)
            begin = time.monotonic()
            answer = ask(number)
            now = time.monotonic()
            with lock:
                if answer.status == 503:
                    refused[0] += 1
                elif answer.status == 200 and now < end:
                    times.append(now - begin)
            if answer.status == 503:
                time.sleep(0.05)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waited = [1000 * quantile(times, share) for share in (0.5, 0.95, 0.99)]
    p50, p95, p99 = (round(each, 1) for each in waited)
    return Speed(server, clients, round(len(times) / seconds, 1), p50, p95, p99, refused[0])


def quantile(times: list[float], share: float) -> float:
    """The time within which a share of the answers came; NaN without any."""
    if len(times) < 2:
        return times[0] if times else float("nan")
    return statistics.quantiles(times, n=100, method="inclusive")[round(100 * share) - 1]
