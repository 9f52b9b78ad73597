"""What a run can set of `DiffLift` and of its domain, by name, and what the paper has there."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from topox_difflift.checks import check_one_of
from topox_difflift.domains import DOMAINS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.lift import DiffLift
from topox_difflift.liftings import LIFTINGS
from topox_difflift.nn import Carried
from topox_difflift.nn.network import READOUTS, usual_readout
from topox_difflift.schedules import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from topox_difflift.schedules import Schedule

__all__ = [
    "ACCEPTING", "OF_CONTROLS", "OPTIONS", "PROPOSING", "READING", "available", "check_options",
    "departures", "make_lifting", "parse_options", "schedules_of", "set_options", "settle_options",
    "spell",
]  # fmt: skip

#: Arguments of `DiffLift` and of its domains that say which cells are proposed, or what proposing
#: learns from, each with its value in the paper's own form; add a line to let runs set another.
#: "accept_all" and "random" have them as well.
PROPOSING: dict[str, Any] = {
    "k_min": 2,
    "k_max": 5,
    "memberships": "hard",
    "near_misses": 0,
    "hops": None,
    # Of domains.
    "cycles": "shortest",
    "max_cycle_length": None,
    "rings": False,
    "simplices": "all",
    "closure_gradient": False,
    "sizes": None,
    "edges": "given",
}
#: The same for how proposed cells are accepted, which "difflift" alone decides. Without
#: `dispersion` the sizes do not see the distances either; the other two always do.
ACCEPTING: dict[str, Any] = {
    "rejected": "drop",
    "dispersion": False,
    "boundary_statistics": False,
    "aggregation": "mean",
    "cell_budget": None,
    "rescue": False,
    "initial_logit": 1.0,
    "cell_price": 0.0,
    "entropy_price": 0.0,
    # Of estimators that have one; None for their own.
    "temperature": None,
}
#: The same for how the network reads out cells, where graphs are predicted; static liftings, which
#: have no learned cells, read out the same either way.
READING: dict[str, Any] = {"readout": "mean"}
#: All of them.
OPTIONS = {**PROPOSING, **ACCEPTING, **READING}
#: What "accept_all" and "random" have.
OF_CONTROLS = {**PROPOSING, **READING}
#: Those that may change from epoch to epoch, by a schedule in the place of their value.
SCHEDULED = ("cell_price", "entropy_price", "temperature")
#: Stands for all of them in the paper's own form.
PAPER = "paper"

_WORDS = {"true": True, "false": False, "none": None}


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """
    Read options from the command line.

    Parameters
    ----------
    texts : iterable of str
        Such as "memberships=hard" or "rejected=drop,k_max=8"; several numbers are "sizes=3+4", and
        "cell_price=step:0:0.05:16" is a schedule; "paper" is the paper's own form.

    Returns
    -------
    dict
        Values by name, not checked yet; of two values of one name the last.

    Raises
    ------
    ValueError
        If a part is neither a name with a value nor "paper".
    """
    found: dict[str, Any] = {}
    for part in (part for text in texts for part in re.split(r"[,\s]+", text) if part):
        name, equals, value = part.partition("=")
        if part != PAPER and not (name and equals and value):
            raise ValueError(
                f"Expected options to be name=value, such as rings=true, or {PAPER} (got {part!r})"
            )
        found[name] = True if part == PAPER else _read(value)
    return found


def _read(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    if "+" in text and all(part.isdigit() for part in text.split("+")):
        return [int(part) for part in text.split("+")]
    return text


def spell(options: Mapping[str, Any]) -> str:
    """
    Write options as `parse_options` reads them.

    Parameters
    ----------
    options : mapping of str to object
        Values by name.

    Returns
    -------
    str
        By name, such as "k_max=8,rings=true".
    """
    return ",".join(f"{name}={_written(value)}" for name, value in sorted(options.items()))


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return next(word for word, meant in _WORDS.items() if meant is value)
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def available(lifting: str, domain: str, level: str = "graph") -> dict[str, Any]:
    """
    List the options that have an effect on a lifting.

    Parameters
    ----------
    lifting : str
        Name in `LIFTINGS`.
    domain : str
        Name in `DOMAINS`.
    level : {"graph", "node"}
        What is predicted.

    Returns
    -------
    dict
        Their defaults by name.
    """
    controls = dict.fromkeys(("accept_all", "random"), OF_CONTROLS)
    names = {"difflift": OPTIONS, **controls}.get(lifting, {})
    made = DOMAINS[domain]
    defaults = {"temperature": None, **_defaults(DiffLift), **_defaults(made)}
    if level == "graph":
        defaults["readout"] = usual_readout(level, made.topology)
    if not made().sees_boundary(made.default_rank):
        del defaults["boundary_statistics"]
    return {name: defaults[name] for name in names if name in defaults}


def _defaults(made: type) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(made).parameters.items()}


def check_options(names: Iterable[str]) -> None:
    """
    Check that options are known.

    Parameters
    ----------
    names : iterable of str
        Their names.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name in names:
        check_one_of("options", name, (*OPTIONS, PAPER))


def settle_options(
    given: Mapping[str, Any], lifting: str, domain: str, level: str = "graph"
) -> dict[str, Any]:
    """
    Check options and fill in those that were left out.

    Parameters
    ----------
    given : mapping of str to object
        Values by name; "paper", if true, puts the paper's in the place of the defaults.
    lifting : str
        Name in `LIFTINGS`.
    domain : str
        Name in `DOMAINS`.
    level : {"graph", "node"}
        What is predicted.

    Returns
    -------
    dict
        Every option that has an effect.

    Raises
    ------
    ValueError
        If an option is unknown, impossible or without effect.
    """
    check_options(given)
    # Lists, as they come back from a file of JSON.
    chosen = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    settled = available(lifting, domain, level)
    if chosen.pop(PAPER, False):
        settled = {name: OPTIONS[name] for name in settled}
    for name in chosen:
        if name not in settled:
            raise ValueError(_without_effect(name, lifting, domain, level))
    settled.update(chosen)
    if "readout" in settled:
        check_one_of("readout", settled["readout"], READOUTS[level])
    if "k_max" not in chosen and isinstance(settled.get("k_min"), int):
        settled["k_max"] = max(settled["k_min"], settled["k_max"])
    if settled:
        ends = {name: schedule.end for name, schedule in schedules_of(settled).items()}
        for values in (settled, {**settled, **ends}):
            # They are checked where they are used; "gumbel" is the one that has a temperature.
            with torch.random.fork_rng(devices=[]):
                make_lifting(
                    "difflift",
                    domain,
                    values,
                    encoder=Carried(1),
                    hidden_channels=1,
                    estimator="gumbel",
                )
    return settled


def schedules_of(options: Mapping[str, Any]) -> dict[str, Schedule]:
    """
    Find the options that change from epoch to epoch.

    Parameters
    ----------
    options : mapping of str to object
        Values by name.

    Returns
    -------
    dict of str to Schedule
        Their schedules by name.

    Raises
    ------
    ValueError
        If one is no schedule, or of an option that cannot change.
    """
    found = {}
    for name, value in options.items():
        if not isinstance(value, str) or ":" not in value:
            continue
        if name not in SCHEDULED:
            raise ValueError(
                f"Expected {name!r} to have one value for the whole run (got {value!r}); "
                f"{', '.join(SCHEDULED)} can have a schedule"
            )
        found[name] = parse(value)
    return found


def set_options(lifting: DiffLift, values: Mapping[str, float]) -> None:
    """
    Give options that have a schedule their value of an epoch.

    Parameters
    ----------
    lifting : DiffLift
        The lifting.
    values : mapping of str to float
        Values by name, of `SCHEDULED`.
    """
    for name, value in values.items():
        setattr(lifting.estimator if name == "temperature" else lifting, name, value)


def _without_effect(name: str, lifting: str, domain: str, level: str) -> str:
    if name in available(lifting, domain) and level == "node":
        return (
            f"Expected no {name!r} where nodes are predicted, where it would have no effect; leave "
            "it out, or take a dataset of graphs"
        )
    liftings = [other for other in LIFTINGS if name in available(other, domain)]
    if liftings:
        where, kind, having = f"lifting {lifting!r}", "lifting", liftings
    else:
        domains = [other for other in DOMAINS if name in available("difflift", other)]
        where, kind, having = f"domain {domain!r}", "domain", domains
    return (
        f"Expected no {name!r} with {where}, where it would have no effect; leave it out, or take "
        f"{kind} {' or '.join(map(repr, having))}"
    )


def make_lifting(
    lifting: str, domain: str, options: Mapping[str, Any], **others: Any
) -> torch.nn.Module:
    """
    Build a lifting that proposes cells.

    Parameters
    ----------
    lifting : {"difflift", "accept_all", "random"}
        Its name.
    domain : str
        Name in `DOMAINS`.
    options : mapping of str to object
        Options of the lifting and of the domain; of a schedule, its value in the first epoch.
        Those in `READING` are not the lifting's.
    **others : dict
        Further arguments of `DiffLift`.

    Returns
    -------
    DiffLift
        The lifting.
    """
    kind = DOMAINS[domain]
    first = {name: schedule(0) for name, schedule in schedules_of(options).items()}
    values = {k: v for k, v in {**options, **first, **others}.items() if k not in READING}
    temperature = values.pop("temperature", None)
    if temperature is not None:
        values["estimator"] = ESTIMATORS[values["estimator"]](temperature=temperature)
    of_domain = {name: values[name] for name in values if name in _defaults(kind)}
    of_lift = {name: values[name] for name in values if name not in of_domain}
    return LIFTINGS[lifting](kind(**of_domain), **of_lift)


def departures(options: Mapping[str, Any], lifting: str, domain: str) -> str:
    """
    Say in what options differ from the defaults.

    Parameters
    ----------
    options : mapping of str to object
        Settled options.
    lifting : str
        Name in `LIFTINGS`.
    domain : str
        Name in `DOMAINS`.

    Returns
    -------
    str
        As `parse_options` reads them: "paper", or those that differ by name, or nothing.
    """
    defaults = available(lifting, domain)
    differing = {name: value for name, value in options.items() if value != defaults[name]}
    in_paper = all(value == OPTIONS[name] for name, value in options.items())
    return PAPER if differing and in_paper else spell(differing)
