"""The record of a family: what its models are trained on, how they are measured and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nls_core.families.recipe import Recipe

HEADLINE_FROM = 3  # with so many seeds or more, the headline cells get further ones
HEADLINE_MORE = 2
SPLIT = "split"
OUT_OF_FOLD = "out_of_fold"


@dataclass(frozen=True)
class Strengths:
    """How strong attacks on a family are: L∞ radii in 1/255, those of `L2` as norms.

    People choose from 0 to `top` in steps of `step`. What is asked for without strengths gets those
    that double from `step` on, up to `most`.
    """

    step: float = 1.0
    top: float = 16.0
    most: float = 16.0

    def slider(self) -> tuple[float, ...]:
        """All that people choose from, without 0."""
        return tuple(self.step * n for n in range(1, round(self.top / self.step) + 1))

    def doubling(self) -> tuple[float, ...]:
        """`step` and its doubles, up to `most`."""
        return tuple(self.step * 2**n for n in range(int(math.log2(self.most / self.step)) + 1))


L2 = Strengths(0.25, 4.0, 4.0)  # of every family


@dataclass(frozen=True)
class Masks:
    """What the maps of a family are asked whose pictures have masks of their object.

    One object in `every` is attacked for the maps under attack: PGD, `epsilon` in [0, 1] pixel
    units, `steps`.
    """

    methods: tuple[str, ...]  # keys of cams.CAMS
    states: tuple[str, ...] = ("clean", "attacked")
    every: int = 3
    epsilon: float = 4 / 255
    steps: int = 10


@dataclass(frozen=True)
class Attacked:
    """Under which attacks a family's networks are measured out of fold, from the true labels.

    One rendering of each object; `epsilons` in [0, 1] pixel units, rising; `steps` of each attack.
    """

    epsilons: tuple[float, ...] = (0.25 / 255, 0.5 / 255, 1 / 255, 2 / 255)
    steps: int = 10


@dataclass(frozen=True)
class Aberrations:
    """What a family is trained on beside its clean data, with zero padding, and for how long.

    The share `subset` of its images is used, also in the condition without changes.

    `conditions` are changes to the recipe by name, `losses` are trained in each of them at the
    rates of the family's own search; those of `rates` at the best of their rates, by a search like
    it on clean data. Seeds count from 0. `groups` are the conditions that lie on one axis, by what
    it is called.
    """

    losses: tuple[str, ...]
    rates: Mapping[str, tuple[float, ...]]
    conditions: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[str, ...]]
    epochs: int
    subset: float | None = None
    seeds: int = 3


@dataclass(frozen=True)
class Baselines:
    """What a family's claims are held against beside its cells, with zero padding.

    Of each loss of `tuned` those of its options are taken that have the lowest validation NLL
    after `search_epochs`. `fixed` are changes to the recipe by name; the runs of those in `early`
    stop at the epoch of their lowest validation NLL, and those in `attacked` are measured under
    attack too. Learning rates are those of the family's search, those of `rates` the best of their
    rates by a search like it; seeds count from 0.
    """

    tuned: Mapping[str, tuple[Mapping[str, float], ...]]
    fixed: Mapping[str, Mapping[str, Any]]
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    early: tuple[str, ...] = ()
    attacked: tuple[str, ...] = ()
    search_epochs: int = 20
    seeds: int = 3

    def losses(self) -> tuple[str, ...]:
        """All that are trained at a rate that the family's own search chose."""
        trained = dict.fromkeys([*self.tuned, *(each["loss"] for each in self.fixed.values())])
        return tuple(loss for loss in trained if loss not in self.rates)


@dataclass(frozen=True)
class Family:
    """What one family trains, by which protocol it is measured, and what pages say of it."""

    name: str
    recipe: Recipe  # shared by all cells; its data set is the family's
    rates: Mapping[str, tuple[float, ...]]  # loss -> learning rates of the search
    search_epochs: int
    # by the protocol 'split', the search uses zero padding, whatever is listed here
    paddings: tuple[str, ...] = ("zero", "partial")
    # 'split': one training and one test split; 'out_of_fold': each object is answered by a
    # network that was trained on the other folds
    protocol: str = SPLIT
    fixed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # loss -> its options
    # loss -> options that the search tries at the best rate, out of fold
    tuned: Mapping[str, tuple[dict[str, float], ...]] = field(default_factory=dict)
    # the cells of the first claim, which get more seeds
    headline: tuple[str, ...] = ()
    zero_only: tuple[str, ...] = ()  # losses that are baselines: not tried with partial padding
    # name -> changes to the recipe, one short run each
    ablations: Mapping[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    # loss -> scores for the hint 'perhaps none of my classes', keys of unfamiliar.SCORES; the one
    # that tells backgrounds best is taken
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    masks: Masks | None = None  # None: the data set has no masks
    strengths: Strengths = Strengths()
    attacked: Attacked | None = None  # None: not attacked out of fold
    # changes to the recipe for long training with little augmentation, and the losses compared in
    # it with their rates
    regime: Mapping[str, Any] = field(default_factory=dict)
    regime_rates: Mapping[str, float] = field(default_factory=dict)
    aberrations: Aberrations | None = None  # None: trained on its data as they are
    baselines: Baselines | None = None  # None: its cells are all there is to compare
    uploads: bool = False  # its classes are what people photograph: Compare opens with it
    attribution: str = ""  # Markdown for model cards: data, authors and licences
    made_by: str = ""  # the command, of a family that is not declared

    @property
    def command(self) -> str:
        """The command that trains and publishes all of it."""
        return self.made_by or f"nls train --grid {self.name}"

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
