"""Write constraints.txt: the exact versions of what the app needs, as installed here.

    make constraints

The closure of pyproject's runtime dependencies, without extras, by the metadata of the packages
that this Python has. What torch brings for graphics cards is left out: it names its exact versions
itself, and other builds of torch bring other things.
"""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from nls_core.settings import ROOT

FILE = ROOT / "constraints.txt"
OF_TORCH = re.compile(r"(nvidia|cuda|triton|pytorch-triton)\b.*")
HEAD = """\
# Exact versions of the app and all that it needs, without extras: those that its tests ran with, on
# Python {python}. Made by `make constraints`; used by `make install CONSTRAINTS=constraints.txt`
# and the Dockerfile. No hashes, since each index of torch has files of its own.
"""


def wanted() -> list[Requirement]:
    """What requirements.txt, which a test compares with pyproject.toml, lists."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    return [Requirement(line) for line in lines]


def closure() -> dict[str, str]:
    """name -> version of everything that is needed.

    Raises:
        PackageNotFoundError: something is not installed.
    """
    waiting, asked, found = wanted(), set[tuple[str, frozenset[str]]](), dict[str, str]()
    while waiting:
        needed = waiting.pop()
        name, key = canonicalize_name(needed.name), frozenset(needed.extras)
        if OF_TORCH.fullmatch(name) or (name, key) in asked:
            continue
        asked.add((name, key))
        package = distribution(name)
        found[name] = Version(package.version).public  # torch 2.x+cpu is 2.x
        for line in package.requires or ():
            inner = Requirement(line)
            extras = needed.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(inner)
    return found


def text() -> str:
    """The file's text."""
    python = ".".join(platform.python_version_tuple()[:2])
    lines = [f"{name}=={version}\n" for name, version in sorted(closure().items())]
    return HEAD.format(python=python) + "".join(lines)


if __name__ == "__main__":
    try:
        FILE.write_text(text(), encoding="utf-8")
    except PackageNotFoundError as error:
        sys.exit(f"expected everything of requirements.txt to be installed; {error} is not")
