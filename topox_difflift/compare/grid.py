"""The runs of a comparison, all of them checked before the first one starts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import topox_difflift
from topox_difflift.checks import check_one_of
from topox_difflift.config import NETWORKS, TrainingConfig
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import LIFTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ARMS", "Grid", "Plan", "Run"]

_LEARNED = ("random", "difflift", "frozen")
_PROPOSING = ("accept_all", "random", "dcm", "difflift", "frozen")
#: What is compared, beside the liftings of the same name: "gnn", the encoder without any cells;
#: "dcm", the rule of DCM; "random", by chance at the rate at which "difflift" accepts in training;
#: "frozen", a network that is trained anew on the cells that a finished "difflift" finds.
ARMS = ("gnn", *(name for name in LIFTINGS if name not in _PROPOSING), *_PROPOSING)
_DCM: dict[str, Any] = {
    "lifting": "difflift",
    "domain": "dcm",
    "estimator": "entmax",
    "memberships": "hard",
}
#: Changes with what a run does or writes; old lines then count as another comparison's.
_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """
    One run of a comparison.

    Attributes
    ----------
    arm : str
        What is compared: a name of `ARMS`, with the estimator after a slash where there is one
        to choose.
    config : TrainingConfig
        How to train; of "random", all but the rate.
    source : Run, optional
        The run that gives "random" its rate, or that "frozen" begins with.
    """

    arm: str
    config: TrainingConfig
    source: Run | None = None

    @property
    def waits(self) -> bool:
        """Whether it can only begin when its source has finished."""
        return self.source is not None and self.config.lifting == "random"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the run that it is: not where its data lie, nor where it is trained."""
        config = asdict(self.config)
        del config["root"], config["device"]
        kind = self.arm.partition("/")[0]
        if self.waits:
            del config["rate"]
        return {
            "kind": kind if self.source is not None else "train",
            "config": config,
            "source": None if self.source is None else self.source.id,
            "version": topox_difflift.__version__,
            "format": _FORMAT,
        }

    @property
    def id(self) -> str:
        """Digest of its identity, the same on every machine."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def settled(self, rate: float) -> Run:
        """
        Fill in what was not known before the source had finished.

        Parameters
        ----------
        rate : float
            Share of its candidates that the source accepted.

        Returns
        -------
        Run
            A run that accepts that share by chance.
        """
        return replace(self, config=replace(self.config, rate=rate))

    def __str__(self) -> str:
        config = self.config
        fold = "" if config.fold is None else f", fold {config.fold}"
        return (
            f"{config.dataset}, {config.tnn}, {config.encoder}, {self.arm}{fold}, "
            f"seed {config.seed}"
        )


@dataclass(frozen=True)
class Plan:
    """
    What is to be done, and what cannot be.

    Attributes
    ----------
    runs : tuple of Run
        The runs, each once; a source comes before what waits for it.
    left_out : dict of str to str
        Combinations that are impossible, each with the reason.
    """

    runs: tuple[Run, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """
    Everything that is to be combined with everything.

    Attributes
    ----------
    datasets : sequence of str
        Names of datasets.
    tnns : sequence of str
        Names of topological networks.
    liftings : sequence of str
        Arms, names of `ARMS`.
    encoders : sequence of str
        Names of encoders.
    estimators : sequence of str
        How "difflift" accepts cells; "random" and "frozen" follow each of them.
    folds : sequence of int or None
        Rounds of a ten-fold cross-validation; None is one random split.
    seeds : sequence of int
        Seeds.
    options : dict
        Other fields of `TrainingConfig`, the same for all runs.

    Raises
    ------
    ValueError
        If a name is unknown or there is nothing to combine.
    """

    datasets: tuple[str, ...]
    tnns: tuple[str, ...]
    liftings: tuple[str, ...] = ARMS
    encoders: tuple[str, ...] = ("gin",)
    estimators: tuple[str, ...] = ("straight_through",)
    folds: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0,)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names."""
        known = {
            "tnns": tuple(name for name in NETWORKS if name != "gnn"),
            "liftings": ARMS,
            "encoders": tuple(ENCODERS),
            "estimators": tuple(ESTIMATORS),
        }
        for name in ("datasets", "tnns", "liftings", "encoders", "estimators", "folds", "seeds"):
            values = tuple(getattr(self, name))
            if not values:
                raise ValueError(f"Expected '{name}' to hold at least one (got none)")
            object.__setattr__(self, name, values)
            for value in values if name in known else ():
                check_one_of(name, value, known[name])

    def plan(self) -> Plan:
        """
        Build the configuration of every run.

        Returns
        -------
        Plan
            The runs, and what is impossible.

        Raises
        ------
        ValueError
            If a fold, a seed or one of `options` is impossible for all of them.
        """
        # An option that is wrong whatever is combined is no combination to be left out.
        for fold, seed in product(self.folds, self.seeds):
            errors = [self._error(dataset, fold, seed) for dataset in self.datasets]
            if errors[0] is not None and None not in errors:
                raise errors[0]
        runs: dict[str, Run] = {}
        left_out: dict[str, str] = {}
        cells = product(self.datasets, self.encoders, self.tnns, self.folds, self.seeds)
        for dataset, encoder, tnn, fold, seed in cells:
            common = {"dataset": dataset, "encoder": encoder, "fold": fold, "seed": seed}
            for arm, make in self._arms():
                try:
                    run = make({**self.options, **common, "tnn": tnn})
                except ValueError as error:
                    left_out[f"{tnn}, {arm}"] = str(error)
                else:
                    runs.setdefault(run.id, run)
        # What others wait for comes first, so that cores do not run idle at the end.
        ordered = sorted(runs.values(), key=lambda run: run.waits)
        return Plan(tuple(ordered), left_out)

    def _error(self, dataset: str, fold: int | None, seed: int) -> ValueError | None:
        try:
            TrainingConfig(dataset=dataset, fold=fold, seed=seed, **self.options)
        except ValueError as error:
            return error
        return None

    def _arms(self) -> Iterator[tuple[str, _Make]]:
        for name in self.liftings:
            for estimator in self.estimators if name in _LEARNED else (None,):
                arm = name if estimator is None else f"{name}/{estimator}"
                yield arm, _Make(name, arm, estimator, "difflift" in self.liftings)


@dataclass(frozen=True)
class _Make:
    """Make the run of an arm from what it shares with the other arms."""

    name: str
    arm: str
    estimator: str | None
    has_source: bool

    def __call__(self, common: dict[str, Any]) -> Run:
        if self.name == "gnn":
            # Without cells the network does not matter: the run is the same for all of them.
            return Run(self.arm, TrainingConfig(**{**common, "tnn": "gnn", "lifting": "none"}))
        if self.name == "dcm":
            return Run(self.arm, TrainingConfig(**common, **_DCM))
        if self.estimator is None:
            return Run(self.arm, TrainingConfig(**common, lifting=self.name))
        learned = TrainingConfig(**common, lifting="difflift", estimator=self.estimator)
        source = Run(f"difflift/{self.estimator}", learned)
        if self.name == "difflift":
            return source
        if self.name == "frozen":
            return Run(self.arm, learned, source)
        if not self.has_source:
            raise ValueError(
                "Expected 'liftings' to hold 'difflift' beside 'random', which accepts at the "
                "rate that it learned; add it"
            )
        return Run(self.arm, TrainingConfig(**common, lifting="random"), source)
