"""Fuzz the decoder, guided by the lines that it reaches: `make fuzz`.

    python -m tests.security.corpus runs/files
    python scripts/fuzz_decoder.py runs/files/sound --seconds 600 > runs/fuzz.json

atheris (libFuzzer) mutates the files of a folder. Whatever is neither a picture nor a refusal, or
takes over 3 s, ends the run with status 1 and is kept as crash-… beside that folder.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path

from nls_core.errors import ExtraMissing, ImageRejected, TooLarge

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SECONDS = 3  # of processor time for one file
MEGABYTES = 1_500  # of the process: what is instrumented, libFuzzer's own, and one picture
LONGEST = 65_536  # bytes of a file
CHILD = "--child"


def mended(data: bytes) -> bytes:
    """A PNG file with right checksums, or nearly every mutation would end at the first chunk."""
    if not data.startswith(SIGNATURE):
        return data
    parts, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        parts.append(data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end])))
        at = end + 4
    return b"".join([*parts, data[at:]])


def tried(data: bytes) -> str:
    """What came of a file: 'picture' or 'refused'.

    Raises:
        RuntimeError: it took too long, or the picture is not what it should be.
        Exception: whatever else the decoder raised.
    """
    from nls_core.decode import MAX_SIDE, decode_image, decode_mask  # noqa: PLC0415 - instrumented

    begin, outcome = time.thread_time(), "refused"
    with suppress(ImageRejected, TooLarge):
        picture = decode_image(data)
        outcome = "picture"
        if picture.mode != "RGB" or not 0 < min(picture.size) <= max(picture.size) <= MAX_SIDE:
            raise RuntimeError(f"expected an RGB picture within the limits, got {picture}")
    with suppress(ImageRejected, TooLarge):
        decode_mask(data)
    if (seconds := time.thread_time() - begin) > SECONDS:
        raise RuntimeError(f"expected an answer within {SECONDS} s, got one after {seconds:.1f}")
    return outcome


def child(arguments: list[str]) -> None:
    """The process that libFuzzer ends."""
    import atheris  # noqa: PLC0415 - optional

    with atheris.instrument_imports(include=["nls_core.decode", "PIL"]):
        import nls_core.decode  # noqa: F401, PLC0415

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        return mended(atheris.Mutate(data, most))[:most]

    atheris.Setup(
        [sys.argv[0], *arguments], lambda data: tried(data) and None, custom_mutator=mutated
    )
    atheris.Fuzz()


def fuzz(seeds: Path, seconds: int) -> dict[str, object]:
    """Run for some seconds; what libFuzzer says of it."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "max_total_time": seconds,
            "max_len": LONGEST,
            "rss_limit_mb": MEGABYTES,
            "timeout": 60,  # a clock, which other work slows; `tried` counts processor time
            "print_final_stats": 1,
            "artifact_prefix": f"{seeds.parent}/",
        }
        found = [f"-{name}={value}" for name, value in options.items()]
        command = [sys.executable, __file__, CHILD, *found, folder, str(seeds)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    sys.stderr.write(done.stderr[-4_000:])
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    stats = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", done.stderr)}
    first, last = (reached[0], reached[-1]) if reached else (("0",) * 3, ("0",) * 3)
    return {
        "seconds": seconds,
        "files": stats.get("number_of_executed_units", 0),
        "branches_of_seeds": int(first[0]),
        "branches": int(last[0]),
        "kept": int(last[2]),
        "peak_mb": stats.get("peak_rss_mb", 0),
        "status": done.returncode,
    }


def main() -> None:
    """Fuzz, print what came of it, and say by the exit status whether anything was found."""
    if CHILD in sys.argv:
        child(sys.argv[sys.argv.index(CHILD) + 1 :])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=Path, help="a folder of files to begin with")
    parser.add_argument("--seconds", type=int, default=600)
    given = parser.parse_args()
    try:
        import atheris  # noqa: F401, PLC0415 - optional
    except ImportError:
        raise SystemExit(str(ExtraMissing("fuzzing needs atheris", "fuzz"))) from None
    found = fuzz(given.seeds, given.seconds)
    print(json.dumps(found, indent=2))  # noqa: T201
    raise SystemExit(int(found["status"] != 0))


if __name__ == "__main__":
    main()
