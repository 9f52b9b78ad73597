"""The runs of a comparison, all of them checked before the first one starts."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import topox_difflift
from topox_difflift.checks import check_one_of
from topox_difflift.config import NETWORKS, TrainingConfig, usual_domain
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import LIFTINGS
from topox_difflift.options import ACCEPTING, OPTIONS, check_options, departures, parse_options

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ARMS", "VARIED", "Grid", "Plan", "Run", "kind_of", "options_of"]

_LEARNED = ("random", "difflift", "frozen")
_PROPOSE = ("accept_all", "random", "dcm", "difflift", "frozen")
#: What is compared, beside the liftings of the same name: "gnn", the encoder without any cells;
#: "dcm", the rule of DCM; "random", by chance at the rate at which "difflift" accepts in training;
#: "frozen", a network that is trained anew on the cells that a finished "difflift" finds.
ARMS = ("gnn", *(name for name in LIFTINGS if name not in _PROPOSE), *_PROPOSE)
#: Arms of which there can be variants.
VARIED = ("accept_all", *_LEARNED)
_DCM: dict[str, Any] = {
    "lifting": "difflift",
    "domain": "dcm",
    "estimator": "entmax",
    "options": {"memberships": "hard"},
}
#: Fields of a configuration that do not make it another run.
_WHERE = ("root", "device")
#: Changes with what a run does or writes; old lines then count as another comparison's.
_FORMAT = 2


@dataclass(frozen=True)
class Run:
    """
    One run of a comparison.

    Attributes
    ----------
    arm : str
        What is compared: a name of `ARMS`, with the estimator after a slash where there is one
        to choose, and in brackets the domain and the options that are not the default.
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
        """
        What makes it the run that it is: not where it is done, nor where its data lie.

        Settings that it does not have, and options as in the paper's own form, are left out, so
        that a new one leaves runs without it what they were.
        """
        config = {k: v for k, v in asdict(self.config).items() if k not in _WHERE and v is not None}
        config["options"] = {k: v for k, v in config["options"].items() if v != OPTIONS[k]}
        if self.waits:
            config.pop("rate", None)
        return {
            "kind": kind_of(self.arm) if self.source is not None else "train",
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
    variants : sequence of str
        Options of the lifting, such as "memberships=hard" or "rejected=drop,dispersion=false", or
        "paper", its form in the paper; each makes a further arm beside the default.
    varied : sequence of str
        Arms of which there are the variants, names of `VARIED`.
    domains : sequence of str or None
        Topological domains; None is the one that lifting and network ask for.
    folds : sequence of int or None
        Rounds of a ten-fold cross-validation; None is one random split.
    seeds : sequence of int
        Seeds.
    settings : dict
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
    variants: tuple[str, ...] = ()
    varied: tuple[str, ...] = ("difflift",)
    domains: tuple[str | None, ...] = (None,)
    folds: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names."""
        known = {
            "datasets": None,
            "tnns": tuple(name for name in NETWORKS if name != "gnn"),
            "liftings": ARMS,
            "encoders": tuple(ENCODERS),
            "estimators": tuple(ESTIMATORS),
            "varied": VARIED,
            "domains": tuple(DOMAINS),
            "folds": None,
            "seeds": None,
        }
        for name, allowed in known.items():
            values = tuple(getattr(self, name))
            if not values:
                raise ValueError(f"Expected '{name}' to hold at least one (got none)")
            object.__setattr__(self, name, values)
            for value in values if allowed else ():
                if (name, value) != ("domains", None):
                    check_one_of(name, value, allowed or ())
        for variant in self.variants:
            check_options(parse_options([variant]))

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
            If a fold, a seed, a variant or one of `settings` is impossible for all of them.
        """
        # An option that is wrong whatever is combined is no combination to be left out.
        for fold, seed in product(self.folds, self.seeds):
            errors = [self._error(dataset, fold, seed) for dataset in self.datasets]
            if errors[0] is not None and None not in errors:
                raise errors[0]
        runs: dict[str, Run] = {}
        left_out: dict[str, str] = {}
        # Variants that no arm can have, and why.
        useless = dict.fromkeys(self.variants, "'varied' names none of 'liftings'")
        for common in self._cells():
            on = "" if common["domain"] is None else f" on {common['domain']}"
            for kind, estimator, variant in self._arms():
                try:
                    run = _make(kind, estimator, parse_options([variant]), common)
                except ValueError as error:
                    arm = _arm(kind, estimator, variant)
                    left_out[f"{common['tnn']}{on}, {arm}"] = str(error)
                    if variant in useless:
                        useless[variant] = str(error)
                else:
                    runs.setdefault(run.id, run)
                    useless.pop(variant, None)
        for variant, reason in useless.items():
            raise ValueError(f"No arm can be the variant {variant!r}: {reason}")
        for run in [run for run in runs.values() if run.waits]:
            if run.source is not None and run.source.id not in runs:
                del runs[run.id]
                left_out[f"{run.config.tnn}, {run.arm}"] = (
                    f"Expected {run.source.arm!r} among the arms beside {run.arm!r}, which accepts "
                    "at the rate that it learned; add it"
                )
        # What others wait for comes first, so that cores do not run idle at the end.
        ordered = sorted(runs.values(), key=lambda run: run.waits)
        return Plan(tuple(ordered), left_out)

    def _error(self, dataset: str, fold: int | None, seed: int) -> ValueError | None:
        try:
            TrainingConfig(dataset=dataset, fold=fold, seed=seed, **self.settings)
        except ValueError as error:
            return error
        return None

    def _cells(self) -> Iterator[dict[str, Any]]:
        """List what the arms of each comparison have in common."""
        names = ("dataset", "encoder", "tnn", "domain", "fold", "seed")
        axes = (
            self.datasets, self.encoders, self.tnns, self.domains, self.folds, self.seeds
        )  # fmt: skip
        for values in product(*axes):
            yield {**self.settings, **dict(zip(names, values, strict=True))}

    def _arms(self) -> Iterator[tuple[str, str | None, str]]:
        """List kind, estimator and variant of every arm."""
        for kind in self.liftings:
            for estimator in self.estimators if kind in _LEARNED else (None,):
                for variant in ("", *self.variants) if kind in self.varied else ("",):
                    yield kind, estimator, variant


def kind_of(arm: str) -> str:
    """
    Tell an arm's name in `ARMS`.

    Parameters
    ----------
    arm : str
        The arm of a `Run`.

    Returns
    -------
    str
        What stands before the estimator and the options.
    """
    return re.split(r"[/\[]", arm, maxsplit=1)[0]


def options_of(arm: str) -> list[str]:
    """
    Tell what an arm has in brackets.

    Parameters
    ----------
    arm : str
        The arm of a `Run`.

    Returns
    -------
    list of str
        The domain and the options that are not the default, such as "k_max=8".
    """
    _, _, options = arm.rstrip("]").partition("[")
    return options.split(",") if options else []


def _arm(kind: str, estimator: str | None, options: str) -> str:
    return kind + (f"/{estimator}" if estimator else "") + (f"[{options}]" if options else "")


def _make(kind: str, estimator: str | None, options: dict[str, Any], common: dict[str, Any]) -> Run:
    """Make the run of an arm from what it shares with the other arms."""
    if kind == "gnn":
        # Without cells neither network nor domain matter: the run is the same for all of them.
        bare = {**common, "tnn": "gnn", "domain": None}
        return Run(kind, TrainingConfig(**bare, lifting="none"))
    if kind == "dcm":
        if common["domain"] not in (None, "cell"):
            raise ValueError(
                f"Expected 'domain' to be 'cell' with arm 'dcm', which makes no other (got "
                f"{common['domain']!r})"
            )
        return Run(kind, TrainingConfig(**{**common, **_DCM}))
    if kind not in _LEARNED:
        config = TrainingConfig(**common, lifting=kind, options=options)
        return Run(_arm(kind, None, _difference(config)), config)
    learned = TrainingConfig(**common, lifting="difflift", estimator=estimator, options=options)
    difference = _difference(learned)
    source = Run(_arm("difflift", estimator, difference), learned)
    if kind == "difflift":
        return source
    arm = _arm(kind, estimator, difference)
    if kind == "frozen":
        return Run(arm, learned, source)
    proposed = {name: value for name, value in options.items() if name not in ACCEPTING}
    return Run(arm, TrainingConfig(**common, lifting="random", options=proposed), source)


def _difference(config: TrainingConfig) -> str:
    """Say in what a configuration differs from the default of its lifting and network."""
    domain = str(config.domain)
    usual = usual_domain(config.lifting, config.tnn, config.dataset)
    parts = [] if domain == usual else [f"domain={domain}"]
    parts += [text] if (text := departures(config.options or {}, config.lifting, domain)) else []
    return ",".join(parts)
