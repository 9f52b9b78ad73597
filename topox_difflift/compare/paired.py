"""Paired differences between arms, with intervals that know what the runs have in common."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from topox_difflift.datasets import SYNTHETIC
from topox_difflift.datasets.protocols import drawn_from_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topox_difflift.compare.comparisons import Comparison, Key

__all__ = ["Difference", "difference_between", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """
    How much better an arm is than another one, over the runs that both have.

    Attributes
    ----------
    mean : float
        Mean of the differences, arm minus baseline.
    low, high : float, optional
        Confidence interval; None with fewer than two differences.
    p_value : float, optional
        Of the two-sided test that the mean is zero; None with fewer than two differences, or
        where all of them are equal.
    n_pairs : int
        Number of pairs of runs.
    over : {"graphs", "splits", "seeds"}
        What differs between the pairs: synthetic graphs of their own, the split of one dataset,
        or, on one published split, the seed of the training alone.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    n_pairs: int
    over: str = "graphs"


def paired_difference(
    differences: Sequence[float], confidence: float = 0.95, overlap: float = 0.0
) -> Difference:
    r"""
    Estimate a mean difference by Student's t.

    Parameters
    ----------
    differences : sequence of float
        One for each pair, at least one.
    confidence : float, default=0.95
        Level of the interval.
    overlap : float, default=0.0
        Size of the test sets divided by that of the training sets, where the pairs are splits of
        one dataset; 0 for pairs that are independent.

    Returns
    -------
    Difference
        With n differences of mean m and standard deviation s (of n - 1 degrees of freedom), the
        interval

        .. math:: m ± t s \sqrt{1 / n + n_{test} / n_{train}}

        where t is the (1 + confidence) / 2 quantile of Student's distribution with n - 1 degrees
        of freedom.

    Notes
    -----
    Splits of one dataset share training data, so that their differences are correlated and
    s² / n is too small a variance of their mean. The term with the sizes of the sets corrects it
    by taking n_test / (n_test + n_train) for the correlation, section 3 of [1]_.

    References
    ----------
    .. [1] Nadeau and Bengio. Inference for the generalization error. Machine Learning 52, 2003.

    Examples
    --------
    >>> folds = [0.1, 0.3, 0.2]
    >>> [round(paired_difference(folds, overlap=share).low, 3) for share in (0, 1 / 8)]
    [-0.048, -0.091]
    """
    from scipy.stats import t

    n, mean = len(differences), fmean(differences)
    if n < 2:
        return Difference(mean, None, None, None, n)
    error = stdev(differences) * math.sqrt(1 / n + overlap)
    reach = float(t.ppf((1 + confidence) / 2, n - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, n - 1)) if error > 0 else None
    return Difference(mean, mean - reach, mean + reach, p_value, n)


def difference_between(comparison: Comparison, arm: str, baseline: str) -> Difference | None:
    """
    Estimate how much better an arm is than another one.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    arm, baseline : str
        Names of arms.

    Returns
    -------
    Difference, optional
        That of the test metric, over the runs of the same seed and fold; None if there are none.

    Notes
    -----
    Synthetic graphs are made anew from each seed: their pairs are independent. Otherwise the
    pairs are splits of one dataset, and the interval is the corrected one of
    `paired_difference`; several seeds on one published split count as one, by their mean. Where
    there is one split alone, the interval is over seeds, and says nothing about another split.
    """
    keys = comparison.shared(arm, baseline)
    if not keys:
        return None
    ours, theirs = comparison.arms[arm], comparison.arms[baseline]
    by_split: dict[Key | None, list[float]] = defaultdict(list)
    drawn = drawn_from_seed(comparison.dataset, comparison.settings.get("protocol"))
    for seed, fold in keys:
        split = seed if drawn else 0, fold
        by_split[split].append(ours[seed, fold]["test"] - theirs[seed, fold]["test"])
    if comparison.dataset in SYNTHETIC and len({seed for seed, _ in keys}) == len(keys):
        over, found = "graphs", paired_difference([one for (one,) in by_split.values()])
    elif len(by_split) == 1 and len(keys) > 1:
        (alone,) = by_split.values()
        over, found = "seeds", paired_difference(alone)
    else:
        sizes = [ours[key]["split"] for key in keys]
        overlap = fmean(size["test"] / size["train"] for size in sizes)
        means = [fmean(of_split) for of_split in by_split.values()]
        over, found = "splits", paired_difference(means, overlap=overlap)
    return replace(found, n_pairs=len(keys), over=over)
