"""What a family of models trains: its cells, searches and ablations; one entry in `GRIDS` each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nls_core.families.recipe import Recipe

HEADLINE_FROM, HEADLINE_MORE = 3, 2  # with 3 seeds or more, 2 more for the headline cells


@dataclass(frozen=True)
class Family:
    """What one family trains: cells, and the learning rates tried for each loss."""

    name: str
    recipe: Recipe  # shared by all cells
    rates: dict[str, tuple[float, ...]]  # loss -> learning rates of the search
    search_epochs: int
    paddings: tuple[str, ...] = ("zero", "partial")
    fixed: dict[str, dict[str, float]] = field(default_factory=dict)  # loss -> options of its own
    headline: tuple[str, ...] = ()  # the cells of the first claim, which get more seeds
    zero_only: tuple[str, ...] = ()  # losses that are baselines: not tried with partial padding
    # name -> changes to the recipe, one short run each
    ablations: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(loss, padding) of all cells."""
        return tuple(
            (loss, padding)
            for loss in self.rates
            for padding in self.paddings
            if padding == "zero" or loss not in self.zero_only
        )

    def cells(self) -> tuple[str, ...]:
        """The names `<loss>-<padding>` of all cells."""
        return tuple(f"{loss}-{padding}" for loss, padding in self.pairs())

    def seeds(self, cell: str, asked: int) -> int:
        """How many seeds a cell gets when `asked` are asked for."""
        more = cell in self.headline and asked >= HEADLINE_FROM
        return asked + HEADLINE_MORE * more


# nls train --grid fashion --seeds 3: 26 search runs of 6 epochs, 18 ablations and 31 runs of 40,
# 8 to 14 hours on one core of a small server; see docs/training.md for what came out.
GRIDS: dict[str, Family] = {
    "fashion": Family(
        "fashion",
        Recipe(),
        rates={
            "ce": (0.05, 0.1, 0.2, 0.4),
            "ls": (0.05, 0.1, 0.2, 0.4, 0.8),
            "nls": (0.5, 1.0, 2.0, 4.0, 8.0),
            "nls_ls": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
            "focal": (0.025, 0.05, 0.1, 0.2, 0.4),
        },
        search_epochs=6,
        headline=("ce-zero", "nls-zero"),
        zero_only=("focal",),
        fixed={"focal": {"gamma": 3.0}, "nls_ls": {"weight": 0.006}},
        ablations={
            "weight": tuple(
                {"loss": "nls_ls", "weight": weight, "lr": lr, "epochs": 20}
                for weight, lr in ((0.006, 4.0), (0.012, 4.0), (0.006, 8.0))
            )
            + tuple(
                {"loss": "nls_ls", "weight": 0.006, "lr": 16.0, "epochs": 40, "seed": 0} | more
                for more in (
                    {},
                    {"weight": 0.009},
                    {"smoothing": 0.05},
                    {"smoothing": 0.05, "gamma": 0.5},
                    {"smoothing": 0.02, "gamma": 1.0},
                )
            ),
            "smoothing of ls": tuple(
                {"loss": "ls", "smoothing": s, "lr": 0.4} for s in (0.0, 0.05, 0.1, 0.2, 0.4)
            ),
            # the step of nls is (1-s) times that of NCE: lr·(1-s) is what it is at s = 0.1, lr = 4
            "smoothing of nls": tuple(
                {"loss": "nls", "smoothing": s, "lr": round(3.6 / (1 - s), 6)}
                for s in (0.0, 0.05, 0.1, 0.2, 0.4)
            ),
        },
    ),
}
