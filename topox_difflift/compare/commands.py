"""The commands that lines of results come from, and what they took."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from topox_difflift.compare.command import compare
from topox_difflift.compare.comparisons import kind_of, last_lines, options_of, place_of
from topox_difflift.config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from topox_difflift.compare.text import Columns

__all__ = ["commands_of", "files_table"]

Record = dict[str, Any]
#: Settings that are no option of their own: what is combined, and where it is done.
_APART = ("root", "device", "options")
#: Kind and estimator.
_ARM = r"([^/\[]+)(?:/([^\[]+))?"
_PARAMETERS = inspect.signature(compare).parameters


def commands_of(records: Iterable[Record], out: str) -> list[str]:
    """
    Say by which commands runs are made.

    Parameters
    ----------
    records : iterable of dict
        Their lines.
    out : str
        File of the results.

    Returns
    -------
    list of str
        One for each grid, with the options that are not the default. A grid that is not finished is
        written as if it were.
    """
    groups: dict[tuple[Any, ...], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in last_lines(records, "done"):
        key = record["fold"] is None, *_chosen(record).items()
        groups[key][record["dataset"]].append(record)
    commands = []
    for (_, *chosen), datasets in groups.items():
        grids: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        for dataset, runs in datasets.items():
            grids[_grid(runs)].append(dataset)
        for grid, names in grids.items():
            options = [("datasets", ",".join(names)), *grid, *chosen, ("out", out)]
            words = (f"--{name.replace('_', '-')} {value}" for name, value in options)
            commands.append(" ".join(("topox-difflift compare", *words)))
    return commands


def _chosen(record: Record) -> dict[str, Any]:
    """Return the settings that are not what the command has by default."""
    config, chosen = record["config"], {}
    usual = TrainingConfig(dataset=record["dataset"], encoder=record["encoder"])
    for name, parameter in _PARAMETERS.items():
        default = getattr(usual, name, None) if parameter.default is None else parameter.default
        if name in config and name not in _APART and config[name] not in (default, None):
            chosen[name] = config[name]
    return chosen


def _grid(runs: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """Return what runs of one dataset combine."""
    names = sorted({run["arm"] for run in runs}, key=place_of)
    arms = [re.match(_ARM, name) for name in names]
    options = [(kind_of(name), _split(options_of(name))) for name in names]
    variants = dict.fromkeys(variant for _, (_, variant) in options if variant)
    varied = _named(kind for kind, (_, variant) in options if variant)
    elsewhere = any(domain for _, (domain, _) in options)
    celled = [run for run in runs if run["tnn"] != "gnn"]
    combined = [
        ("tnns", _named(run["tnn"] for run in celled)),
        ("liftings", _named(kind for kind, _ in options)),
        ("encoders", _named(run["encoder"] for run in runs)),
        ("estimators", _named(arm[2] for arm in arms if arm is not None and arm[2])),
        *(("variants", variant) for variant in variants),
        ("varied", "" if varied == "difflift" else varied),
        ("domains", _named(run["config"]["domain"] for run in celled) if elsewhere else ""),
        ("folds", _ranges({run["fold"] for run in runs} - {None})),
        ("seeds", _ranges({run["seed"] for run in runs})),
    ]
    return tuple((name, text) for name, text in combined if text)


def _split(parts: Sequence[str]) -> tuple[str, str]:
    """Split what an arm has in brackets into its domain and the other options."""
    domain = [part for part in parts if part.startswith("domain=")]
    return ",".join(domain), ",".join(part for part in parts if part not in domain)


def _named(names: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(names))


def _ranges(numbers: Iterable[int]) -> str:
    """Write "0,3,5-7"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def files_table(files: Mapping[str, Sequence[Record]]) -> Columns:
    """
    Say what files of results hold, and how long it took.

    Parameters
    ----------
    files : mapping of str to sequence of dict
        The lines of each file, by its name.

    Returns
    -------
    dict of str to list of str
        A row for each file; the hours are those of training and validation, run after run.
    """
    done = [last_lines(records, "done") for records in files.values()]
    return {
        "file": list(files),
        "runs": [str(len(runs)) for runs in done],
        "failed": [str(len(last_lines(records, "failed"))) for records in files.values()],
        "hours": [f"{sum(run['seconds'] for run in runs) / 3600:.2f}" for runs in done],
        "version": [_named(run["version"] for run in runs) for runs in done],
        "torch": [_named(run["versions"]["torch"] for run in runs) for runs in done],
    }
