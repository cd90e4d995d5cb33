"""A view of Compare as an address, and back: what the controls say, and the picture's name.

A picture is named by what is bundled (`photos/dog-kemperman.jpg`) or by the sha256 of an upload's
bytes, so only who has the file, or was given its link, reaches it. Names are looked up in what was
seen before; none becomes a path.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from nls_core.analysis.requests import MAX_MODELS, MAX_STEPS, strengths
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import InvalidInput, UnknownName, shown, unknown
from nls_core.views import panels
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import AUTOMATIC, AWAY, Values
from nls_core.web.rest.forms import MAX_SEED

PICTURE = "picture"
REMEMBERED = 2000  # uploads that links may name, the latest ones; their files go sooner
MAX_QUERY = 4000  # characters; ours has some 300
GONE = (
    "The picture of this link is not kept here any more: uploads are deleted after a while. Its "
    "settings are restored; upload the picture again to see it with them."
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Pictures:
    """The pictures that links may name; thread-safe."""

    def __init__(self, compare: Compare, most: int = REMEMBERED) -> None:
        folder = compare.analyzer.settings.static_dir / "examples"
        self._bundled = {e.path.relative_to(folder).as_posix(): e.path for e in compare.examples}
        self._by_content = {digest_of(path): name for name, path in self._bundled.items()}
        self._uploads: OrderedDict[str, Path] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def name(self, path: Path) -> str:
        """How links name a picture that is shown; from now on they lead to it.

        Raises:
            OSError: it is gone.
        """
        digest = digest_of(path)
        if bundled := self._by_content.get(digest):
            return bundled
        with self._lock:
            self._uploads.pop(digest, None)
            self._uploads[digest] = path
            if len(self._uploads) > self._most:
                self._uploads.popitem(last=False)
        return digest

    def find(self, name: str) -> Path | None:
        """Where a named picture is, None for an upload that is not kept.

        Raises:
            InvalidInput: it is no picture's name.
        """
        if name in self._bundled:
            return self._bundled[name]
        if not _DIGEST.fullmatch(name):
            raise InvalidInput(
                f"picture must be a bundled one, such as {next(iter(self._bundled))}, or the "
                f"sha256 of an upload; got {shown(name)}"
            )
        path = self._uploads.get(name)
        try:  # the file may be swept, or another by now
            return path if path and digest_of(path) == name else None
        except OSError:
            return None


def digest_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Links:
    """Between the controls' values and the query of an address."""

    def __init__(self, compare: Compare) -> None:
        self.work, self.pictures = compare, Pictures(compare)

    def query(self, values: Values) -> str:
        """The query that stands for a view, without '?'."""
        told = {"family": values["family"]} | {name: values[name] for name in READERS}
        for name, usual in (("target", AUTOMATIC), ("towards", AWAY)):
            if told[name] == usual:
                del told[name]
        told["more"] = ",".join(values["more"])
        if not told["more"]:
            del told["more"]
        told |= {"epsilon": f"{values['epsilon']:.10g}", "steps": int(values["steps"])}
        told["seed"] = int(values["seed"] or 0)
        with suppress(OSError):  # none, or gone: the rest is a view as well
            told[PICTURE] = self.pictures.name(Path(values["image"] or ""))
        return urlencode(told, safe="/,")

    def read(self, query: str) -> tuple[dict[str, Any], list[str]]:
        """The controls' values that a query asks for, and what could not be had, in sentences.

        What is missing or wrong is as the page begins with it; names of others are passed over.
        """
        asked = dict(reversed(parse_qsl(query.removeprefix("?")[:MAX_QUERY])))  # the first counts
        family, problems = self._family(asked)
        values = self.work.start(family)
        for name, read in READERS.items():
            if name in asked:
                try:
                    values[name] = read(self.work, asked[name], values)
                except InvalidInput as error:
                    problems.append(_sentence(error))
        top = strengths(values["baseline"], values["attack"]).top
        values["epsilon"] = min(values["epsilon"], top)  # that of the beginning, for another attack
        if PICTURE in asked:
            try:
                found = self.pictures.find(asked[PICTURE])
                values["image"] = str(found) if found else values["image"]
                problems += [] if found else [GONE]
            except InvalidInput as error:
                problems.append(_sentence(error))
        return values, problems

    def _family(self, asked: Mapping[str, str]) -> tuple[str, list[str]]:
        """The family that is asked for, or that of the models; else the first, and why."""
        families = self.work.families
        of_model = asked.get("baseline", asked.get("candidate", "")).partition("/")[0]
        family = asked.get("family", of_model if of_model in families else families[0])
        if family in families:
            return family, []
        return families[0], [_sentence(unknown("family", family, families))]


def _sentence(error: object) -> str:
    return f"Of the link: {error}; instead, the page shows what it begins with."


Reader = Callable[[Compare, str, Values], Any]  # of the values that came before


def _of(what: str, known: Callable[[Compare, Values], Sequence[str]]) -> Reader:
    def read(compare: Compare, text: str, values: Values) -> str:
        if text not in (names := known(compare, values)):
            raise UnknownName(unknown(what, text, names))
        return text

    return read


def _number(what: str, top: Callable[[Values], float], whole: bool, least: int = 0) -> Reader:
    def read(compare: Compare, text: str, values: Values) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= top(values):
            raise InvalidInput(
                f"{what} must be a {'whole ' if whole else ''}number in [{least}, "
                f"{top(values):g}]; got {shown(text)}"
            )
        return value

    return read


def _several(compare: Compare, text: str, values: Values) -> list[str]:
    read, ids = _of("model", _ids), text.split(",")
    if len(ids) > MAX_MODELS - 2:
        raise InvalidInput(f"expected at most {MAX_MODELS - 2} more models; got {len(ids)}")
    return [read(compare, each, values) for each in ids]


def _ids(compare: Compare, values: Values) -> Sequence[str]:
    return compare.ids(values["family"])


# in the order in which they rest on each other; the strength's unit is that of the slider
READERS: Mapping[str, Reader] = {
    "baseline": _of("model", _ids),
    "candidate": _of("model", _ids),
    "more": _several,
    "attack": _of("attack", lambda *_: list(ATTACKS)),
    "epsilon": _number("epsilon", lambda v: strengths(v["baseline"], v["attack"]).top, whole=False),
    "cam": _of("cam", lambda *_: list(CAMS)),
    "target": _of("class", lambda compare, v: compare.targets(v["baseline"])),
    "towards": _of("class", lambda compare, v: compare.ways(v["baseline"])),
    "layer": _of("layer", lambda compare, v: compare.analyzer.layers(v["baseline"])),
    "scale": _of("scale", lambda *_: list(panels.SCALES)),
    "steps": _number("steps", lambda _: MAX_STEPS, whole=True, least=1),
    "seed": _number("seed", lambda _: MAX_SEED, whole=True),
}
