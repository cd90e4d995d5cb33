"""Decode every file of a folder as the app would, and say what became of them.

    python scripts/try_images.py FOLDER             in this process: reasons, slowest, peak memory
    python scripts/try_images.py FOLDER --url http://127.0.0.1:7860     posted to a running server

Each accepted picture also goes through every conversion of `images.PREPROCESS` and becomes a
thumbnail, as in an analysis. Pillow's own test images are in the folder Tests/images of its source
package: `pip download --no-deps --no-binary :all: pillow`. Ends with status 1 where a file brought
another exception than ours (over HTTP: a status of 500 or more), took over 150 MB, or over 3 s: of
processor time here, on the clock over HTTP. Memory is read from /proc, so on Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nls_core.errors import ImageRejected, TooLarge
from nls_core.images import PREPROCESS, decode_image, thumbnail
from nls_core.web.bench.process import multipart

SECONDS = 3.0
MOST = 150_000_000  # bytes above rest; `decode.BUDGET`, an estimate, is a little below
SHOWN = 5  # of the slowest and the largest


@dataclass(frozen=True)
class Tried:
    """What became of a file: `outcome` is "accepted", or begins with why not; `peak` in bytes."""

    name: str
    outcome: str
    seconds: float
    peak: int = 0
    failed: bool = False


def memory(field: str) -> int:
    """A field of /proc/self/status that is a number of kB, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}; memory is measured on Linux only")
    return 1024 * int(found[1])


def use(data: bytes) -> None:
    """All that an analysis does with a picture before a model sees it."""
    picture = decode_image(data)
    for convert in PREPROCESS.values():
        convert(picture, 224, 3)
    thumbnail(picture)


def try_here(path: Path) -> Tried:
    """Decode and convert a file here; the peak counts from before the file is read."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier files left must not hide what this one takes
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    rest, begin, outcome, failed = memory("VmRSS"), time.process_time(), "accepted", False
    try:
        use(path.read_bytes())
    except (ImageRejected, TooLarge) as error:
        outcome = str(error)
    except Exception as error:
        outcome, failed = repr(error), True
    return Tried(path.name, outcome, time.process_time() - begin, memory("VmHWM") - rest, failed)


def poster(url: str) -> Callable[[Path], Tried]:
    """A function that posts a file to a running server, to be analysed by its first model."""
    with urllib.request.urlopen(f"{url}/api/v1/models", timeout=60) as answer:  # noqa: S310
        model = json.load(answer)[0]["id"]

    def post(path: Path) -> Tried:
        fields = {"models": model, "epsilons": "1", "attack": "fgsm"}
        body, kind = multipart({**fields, "image": ("picture", path.read_bytes())})
        request = urllib.request.Request(f"{url}/api/v1/analyze", body, kind)  # noqa: S310
        begin = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                status, outcome = answer.status, "accepted"
        except urllib.error.HTTPError as error:
            status, outcome = error.code, f"{error.code} {json.load(error).get('detail', '')}"
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            status, outcome = 599, f"no answer: {error}"
        return Tried(path.name, outcome, time.perf_counter() - begin, failed=status >= 500)

    return post


def reason(outcome: str) -> str:
    """The kind of an answer: its first words, without numbers and what was sent."""
    return re.sub(r"[\d,]+", "N", outcome.partition(", got")[0])[:70]


def show(tried: list[Tried]) -> None:
    """Counts, the slowest, the largest, and what failed."""
    lines = [f"{len(tried)} files"]
    counts = Counter(reason(one.outcome) for one in tried)
    lines += [f"{count:6}  {what}" for what, count in counts.most_common()]
    slowest = sorted(tried, key=lambda one: -one.seconds)[:SHOWN]
    lines += ["slowest:", *(f"  {one.seconds:6.2f} s  {one.name}" for one in slowest)]
    largest = sorted(tried, key=lambda one: -one.peak)[:SHOWN]
    if largest and largest[0].peak:
        lines += ["most memory:", *(f"  {one.peak / 1e6:5.0f} MB  {one.name}" for one in largest)]
    lines += [f"failed: {one.name}: {one.outcome}" for one in tried if one.failed]
    print("\n".join(lines))  # noqa: T201


def main() -> None:
    """Try the files of the folder that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a running server; else the files are decoded here")
    parser.add_argument("--json", action="store_true", help="one line of JSON per file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(path for path in options.folder.rglob("*") if path.is_file())
    if not files:
        sys.exit(f"expected a folder with files; found none in {options.folder}")
    attempt = poster(options.url.rstrip("/")) if options.url else try_here
    attempt(files[0])  # what is loaded at first use is no cost of a file
    tried = [attempt(path) for path in files]
    if options.json:
        print("\n".join(json.dumps(asdict(one)) for one in tried))  # noqa: T201
    else:
        show(tried)
    worst = max(one.peak for one in tried)
    sys.exit(any(one.failed or one.seconds > SECONDS for one in tried) or worst > MOST)


if __name__ == "__main__":
    main()
