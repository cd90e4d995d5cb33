"""Put load on POST /analyze: `python -m tests.security.load URL MODELS [--clients 64]`.

Every client asks again as soon as it has its answer, or after Retry-After where it was refused
(`--impatient`: at once). Only for servers of one's own.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from nls_core.web.bench.process import multipart
from tests.conftest import picture_bytes
from tests.security.served import Form

ANALYZE = "/api/v1/analyze"


@dataclass
class Load:
    """What clients saw: seconds of each answer, by status."""

    seconds: float
    answers: dict[int, list[float]] = field(default_factory=dict)

    @property
    def goodput(self) -> float:
        """Analyses a second."""
        return len(self.answers.get(200, ())) / self.seconds

    def refusal(self, quantile: float) -> float:
        """Seconds that the quickest share of the refusals took at most; 0 without any."""
        times = sorted(self.answers.get(503, [0.0]))
        return times[min(len(times) - 1, int(quantile * len(times)))]


def run(
    port: int,
    models: str,
    clients: int,
    seconds: float,
    *,
    fields: Sequence[tuple[str, str]] = (),
    patience: float | None = None,
) -> Load:
    """Let `clients` ask for `seconds`; who is refused waits `patience`, else its Retry-After."""
    form: Form = {"image": ("a.png", picture_bytes()), "models": models, **dict(fields)}
    seeds = itertools.count()  # each request asks for something that was not asked before
    load, end, lock = Load(seconds), time.monotonic() + seconds, threading.Lock()

    def client() -> None:
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            body, headers = multipart({**form, "seed": str(next(seeds))})
            begin = time.monotonic()
            connection.request("POST", ANALYZE, body, headers)
            response = connection.getresponse()
            response.read()
            connection.close()
            now = time.monotonic()
            if now < end or response.status != 200:
                with lock:
                    load.answers.setdefault(response.status, []).append(now - begin)
            if response.status == 503:
                wait = float(response.headers["Retry-After"]) if patience is None else patience
                time.sleep(max(0.0, min(wait, end - time.monotonic())))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def main() -> None:
    """Print a line of JSON per number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("models")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--impatient", action="store_true")
    given = parser.parse_args()
    port = urlsplit(given.url).port or 80
    for clients in given.clients:
        patience = 0.0 if given.impatient else None
        load = run(port, given.models, clients, given.seconds, patience=patience)
        line = {
            "clients": clients,
            "goodput": round(load.goodput, 2),
            "answers": {status: len(times) for status, times in load.answers.items()},
            "refusal_ms": [round(1000 * load.refusal(q), 1) for q in (0.5, 0.95, 1.0)],
        }
        print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
