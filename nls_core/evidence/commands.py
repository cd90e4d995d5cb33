"""Which command makes the figures of a family, by its protocol: messages and records say the same.

Each entry takes the name of the family.
"""

from __future__ import annotations

from nls_core import families

TRAIN: dict[str, str] = {
    families.SPLIT: "nls train --grid {family} --seeds 3",
    families.OUT_OF_FOLD: "nls train --grid {family}",
}
# networks that never saw an object answer for it while they are trained, and are not kept
MEASURE: dict[str, str] = {
    families.SPLIT: "nls evaluate --family {family}",
    families.OUT_OF_FOLD: "nls train --grid {family}",
}


def train(family: str) -> str:
    """The command that trains all cells of a family."""
    return TRAIN[families.protocol_of(family)].format(family=family)


def measure(family: str) -> str:
    """The command that makes the raw results of a family."""
    return MEASURE[families.protocol_of(family)].format(family=family)


def aberrations(family: str) -> str:
    """The command that trains and measures a family on aberrant data."""
    return f"nls train --grid {family} --aberrations"


def baselines(family: str) -> str:
    """The command that trains and measures the baselines that a family is held against."""
    return f"nls train --grid {family} --baselines"
