"""All recorded comparisons, sorted by what they can tell."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from topox_difflift.compare.comparisons import LEARNED, comparisons
from topox_difflift.compare.results import read_folder
from topox_difflift.datasets import PLANTED, SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from topox_difflift.compare.comparisons import Comparison

__all__ = ["Account"]

Record = dict[str, Any]

_PLANTED = tuple(f"planted_{kind}" for kind in PLANTED)


@dataclass(frozen=True)
class Account:
    """
    Comparisons under the paper's protocol, under fair ones, and on planted cells.

    Attributes
    ----------
    paper, fair, planted : tuple of Comparison
        Comparisons under the protocol "paper", on planted cells, and all others of datasets
        that are not synthetic.
    set_aside : tuple of Comparison
        Those that would be fair, of a dataset, network, encoder and protocol that were also
        compared with more runs of ∂lift, or as many over more epochs, so that none counts twice.
    """

    paper: tuple[Comparison, ...]
    fair: tuple[Comparison, ...]
    planted: tuple[Comparison, ...]
    set_aside: tuple[Comparison, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Account:
        """
        Sort lines.

        Parameters
        ----------
        records : iterable of dict
            Lines of any number of files of results.

        Returns
        -------
        Account
            What they say.
        """
        parts: dict[str, list[Comparison]] = defaultdict(list)
        for found in comparisons(records):
            parts[_part(found)].append(found)
        most: dict[Any, tuple[int, int]] = {}
        for one in parts["fair"]:
            most[_pair(one)] = max(_weight(one), most.get(_pair(one), (0, 0)))
        fair = tuple(one for one in parts["fair"] if _weight(one) == most[_pair(one)])
        set_aside = tuple(one for one in parts["fair"] if _weight(one) < most[_pair(one)])
        return cls(tuple(parts["paper"]), fair, tuple(parts["planted"]), set_aside)

    @classmethod
    def read(cls, folder: Path) -> Account:
        """
        Read all files of results in a folder.

        Parameters
        ----------
        folder : pathlib.Path
            A folder with files ``*.jsonl``.

        Returns
        -------
        Account
            What they say.
        """
        return cls.of(record for of_file in read_folder(folder).values() for record in of_file)

    @property
    def all(self) -> tuple[Comparison, ...]:
        """All comparisons, those on planted cells first."""
        return *self.planted, *self.fair, *self.set_aside, *self.paper


def _pair(comparison: Comparison) -> tuple[object, ...]:
    return *comparison.title[:3], comparison.settings.get("protocol")


def _weight(comparison: Comparison) -> tuple[int, int]:
    """Order comparisons by the runs of ∂lift, then by epochs."""
    runs = comparison.arms.get(LEARNED, ())
    return len(runs), int(comparison.settings.get("max_epochs", 0))


def _part(comparison: Comparison) -> str:
    if comparison.settings.get("protocol") == "paper":
        return "paper"
    if comparison.dataset in _PLANTED:
        return "planted"
    return "synthetic" if comparison.dataset in SYNTHETIC else "fair"
