"""Many clients at once: what they were answered, how many a second, and how long each waited.

In a closed loop each client asks again once it is answered, so that a slow server is asked less;
in an open one requests come at a fixed rate, whatever becomes of those before.
"""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nls_core.web.bench.process import BROKEN, Answer, Site, multipart
from nls_core.web.bench.visitors import picture

ANALYZE = "/api/v1/analyze"
AT_ONCE = 512  # requests of an open loop that may wait for their answer


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


@dataclass
class Load:
    """The answers that came within `seconds`: of each status the seconds that each took.

    Refusals count whenever they came; `unnamed` are those that do not say when to come back.
    """

    seconds: float
    answers: dict[int, list[float]] = field(default_factory=dict)
    unnamed: int = 0
    _adding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def goodput(self) -> float:
        """Answers with status 200 a second."""
        return len(self.answers.get(200, ())) / self.seconds

    def quantile(self, status: int, share: float) -> float:
        """Seconds within which a share of the answers of a status came; 0 without any."""
        times = self.answers.get(status)
        return quantile(times, share) if times else 0.0

    def add(self, answer: Answer, seconds: float, in_time: bool) -> None:
        """Note an answer; thread-safe."""
        with self._adding:
            if in_time or answer.status != 200:
                self.answers.setdefault(answer.status, []).append(seconds)
            self.unnamed += answer.status == 503 and "retry-after" not in answer.headers


def ask_app(app: Site, models: str, seed: int, epsilons: str | None = "none") -> Answer:
    """One analysis, not attacked by default, of a picture that is asked for once."""
    fields: dict[str, str | tuple[str, bytes]] = {
        "image": ("a.png", picture(seed)),
        "models": models,
    }
    if epsilons is not None:
        fields["epsilons"] = epsilons
    return app.ask("POST", ANALYZE, *multipart(fields))


def as_told(answer: Answer) -> float:
    """The seconds that a refused client waits where it does as it is told."""
    return float(answer.headers.get("retry-after", 1))


def closed(
    ask: Callable[[int], Answer],
    clients: int,
    seconds: float,
    *,
    first: int = 0,
    wait: Callable[[Answer], float] = as_told,
) -> Load:
    """Let clients ask one request after the other.

    Args:
        ask: does the request of a number; each number is asked once.
        clients: that ask at the same time.
        seconds: how long; analyses that are not there by then are not counted.
        first: number of the first request.
        wait: seconds until a client asks again that was answered with 503.
    """
    numbers, lock = iter(range(first, first + 10**9)), threading.Lock()
    load, end = Load(seconds), time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < end:
            with lock:
                number = next(numbers)
            begin = time.monotonic()
            answer = _asked(ask, number)
            now = time.monotonic()
            load.add(answer, now - begin, now < end)
            if answer.status == 503:
                time.sleep(max(0.0, min(wait(answer), end - now)))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def opened(
    ask: Callable[[int], Answer], per_second: float, seconds: float, *, first: int = 0
) -> Load:
    """Send requests at a fixed rate; the other arguments are those of `closed`."""
    load, begin = Load(seconds), time.monotonic()

    def client(number: int) -> None:
        sent = time.monotonic()
        answer = _asked(ask, number)
        now = time.monotonic()
        load.add(answer, now - sent, now < begin + seconds)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for index in range(round(per_second * seconds)):
            time.sleep(max(0.0, begin + index / per_second - time.monotonic()))
            pool.submit(client, first + index)
    return load


def _asked(ask: Callable[[int], Answer], number: int) -> Answer:
    """The answer, or that there was none."""
    try:
        return ask(number)
    except (OSError, http.client.HTTPException):
        return Answer(BROKEN, b"")


def measure(
    server: str, ask: Callable[[int], Answer], clients: int, seconds: float, first: int = 0
) -> Speed:
    """What `closed` comes to, of a server by that name; who is refused asks again at once."""
    load = closed(ask, clients, seconds, first=first, wait=lambda answer: 0.05)
    times = load.answers.get(200, [])
    waited = [1000 * quantile(times, share) for share in (0.5, 0.95, 0.99)]
    p50, p95, p99 = (round(each, 1) for each in waited)
    refused = len(load.answers.get(503, ()))
    return Speed(server, clients, round(load.goodput, 1), p50, p95, p99, refused)


def quantile(times: list[float], share: float) -> float:
    """The time within which a share of the answers came; NaN without any."""
    if len(times) < 2:
        return times[0] if times else float("nan")
    return statistics.quantiles(times, n=100, method="inclusive")[round(100 * share) - 1]
