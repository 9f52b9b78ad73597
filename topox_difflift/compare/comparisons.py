"""Which runs can be set against which: those with everything but the arm in common."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from topox_difflift.compare.grid import ARMS, kind_of, options_of
from topox_difflift.config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LEARNED",
    "STATIC",
    "Comparison",
    "comparisons",
    "kind_of",
    "last_lines",
    "options_of",
    "place_of",
]

Record = dict[str, Any]
Key = tuple[int, int | None]

#: The arm that all is about: the learned lifting as it is by default.
LEARNED = f"difflift/{TrainingConfig().estimator}"
#: Arms whose cells are a fixed rule of the graph; adding none is one.
STATIC = ("none", "cycle", "clique", "khop_simplicial", "khop", "knn", "kernel")
#: What differs between datasets, networks, arms, repetitions or machines; all other settings are
#: those of a comparison.
_VARIES = {
    *("dataset", "root", "tnn", "encoder", "seed", "fold", "device"),
    *("domain", "lifting", "estimator", "rate", "options"),
}


@dataclass(frozen=True)
class Comparison:
    """
    Runs that differ in the arm, the seed and the fold alone.

    Attributes
    ----------
    dataset, tnn, encoder : str
        What they have in common.
    settings : dict of str to object
        Everything else that they have in common, such as the number of epochs.
    arms : dict of str to (dict of (int, int or None) to dict)
        The line of each run, by its arm, and by its seed and fold.
    """

    dataset: str
    tnn: str
    encoder: str
    settings: Mapping[str, Any]
    arms: Mapping[str, Mapping[Key, Record]]

    @property
    def title(self) -> tuple[str, str, str, str]:
        """Dataset, network, encoder, and the settings for reading."""
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return self.dataset, self.tnn, self.encoder, settings

    @property
    def metric(self) -> str:
        """What is measured on the test set."""
        return str(self._any["metric"])

    @property
    def sign(self) -> int:
        """Return 1 where higher is better, else -1."""
        return 1 if self._any["higher_is_better"] else -1

    @property
    def _any(self) -> Record:
        return next(iter(next(iter(self.arms.values())).values()))

    def shared(self, *arms: str) -> list[Key]:
        """
        List what arms can be compared on.

        Parameters
        ----------
        *arms : str
            Names of arms.

        Returns
        -------
        list of (int, int or None)
            The seeds and folds that all of them have a run of.
        """
        first, *others = (self.arms.get(arm, {}) for arm in arms)
        return [key for key in first if all(key in other for other in others)]

    def values(self, arm: str, name: str, keys: Iterable[Key] | None = None) -> list[Any]:
        """
        Collect a figure.

        Parameters
        ----------
        arm : str
            Name of an arm.
        name : str
            Name in the line of a run.
        keys : iterable of (int, int or None), optional
            Seeds and folds; by default all that there are.

        Returns
        -------
        list
            The figure of each run; those without it are left out.
        """
        runs = self.arms.get(arm, {})
        found = [runs[key].get(name) for key in (runs if keys is None else keys)]
        return [value for value in found if value is not None]


def place_of(arm: str) -> tuple[int, str]:
    """
    Order arms as `ARMS` does.

    Parameters
    ----------
    arm : str
        Name of an arm.

    Returns
    -------
    tuple of int and str
        A key to sort by; arms of a later version come last.
    """
    kind = kind_of(arm)
    return ARMS.index(kind) if kind in ARMS else len(ARMS), arm


def last_lines(records: Iterable[Record], status: str) -> list[Record]:
    """
    Leave out lines that a later one replaces.

    Parameters
    ----------
    records : iterable of dict
        Lines.
    status : {"done", "failed"}
        Which runs.

    Returns
    -------
    list of dict
        The last line of each run, if it says so.
    """
    last = {record["id"]: record for record in records}
    return [record for record in last.values() if record["status"] == status]


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """
    Sort lines into comparisons.

    Parameters
    ----------
    records : iterable of dict
        Lines; of several with one identity the last counts, and runs that failed do not.

    Returns
    -------
    list of Comparison
        In the order of dataset, network, encoder and settings; a plain GNN ("gnn") is part of
        those of every network.

    Raises
    ------
    ValueError
        If two runs have everything that tells runs apart in common.
    """
    done = last_lines(records, "done")
    networks: dict[tuple[Any, ...], dict[str, None]] = defaultdict(dict)
    for record in done:
        if record["arm"] != "gnn":
            networks[_common(record)][record["tnn"]] = None
    groups: dict[tuple[Any, ...], dict[str, dict[Key, Record]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for record in done:
        common, key = _common(record), (record["seed"], record["fold"])
        # A plain GNN stands beside the arms of every network.
        own = {record["tnn"]: None}
        for tnn in networks[common] or own if record["arm"] == "gnn" else own:
            runs = groups[tnn, *common][record["arm"]]
            if key in runs:
                raise ValueError(_alike(record, runs[key]))
            runs[key] = record
    found = [
        Comparison(dataset, tnn, encoder, dict(settings), dict(sorted(arms.items(), key=_place)))
        for (tnn, dataset, encoder, settings), arms in groups.items()
    ]
    return sorted(found, key=lambda comparison: comparison.title)


def _place(item: tuple[str, Any]) -> tuple[int, str]:
    return place_of(item[0])


def _common(record: Record) -> tuple[Any, ...]:
    """Return what the arms of all networks have in common."""
    config = record["config"].items()
    settings = sorted((k, v) for k, v in config if k not in _VARIES and v is not None)
    return record["dataset"], record["encoder"], (*settings, ("version", record["version"]))


def _alike(one: Record, other: Record) -> str:
    mine, theirs = one["config"], other["config"]
    names = sorted(
        name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)
    )
    where = ", ".join(str(one[name]) for name in ("dataset", "tnn", "encoder", "arm"))
    return (
        "Expected runs of one arm to differ in the seed, the fold or the settings (got two of "
        f"{where}, seed {one['seed']}, fold {one['fold']}, that differ in "
        f"{', '.join(names) or 'nothing'}); take the lines of the one that is out of date out"
    )
