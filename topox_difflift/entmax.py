"""Entmax, a softmax with zeros, on rows of any length."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["check_alpha", "entmax"]


def check_alpha(alpha: float) -> float:
    """
    Check the exponent of entmax, and that the package is there.

    Parameters
    ----------
    alpha : float
        The exponent.

    Returns
    -------
    float
        The same.

    Raises
    ------
    ImportError
        If the package entmax is missing.
    ValueError
        If `alpha` is not greater than 1.
    """
    if not 1 < alpha < math.inf:
        raise ValueError(
            f"Expected 'alpha' to be greater than 1 (got {alpha}); 1.5 is usual, 2 is sparsemax"
        )
    _package()
    return float(alpha)


def entmax(scores: Tensor, alpha: float) -> Tensor:
    """
    Map rows of scores to probabilities of which many are exactly 0.

    Parameters
    ----------
    scores : torch.Tensor, shape = (n_rows, n_columns)
        The scores, minus infinity where there is nothing.
    alpha : float
        Greater than 1; the larger, the more zeros.

    Returns
    -------
    torch.Tensor, shape = (n_rows, n_columns)
        Rows that sum to 1, or to 0 where there is nothing at all.
    """
    package, reach = _package(), 1 / (alpha - 1)
    some = (scores > -torch.inf).any(1)
    wide = scores[some].to(torch.promote_types(scores.dtype, torch.float32))
    # Whatever is further than `reach` below the largest has probability 0 anyhow.
    near = (wide - wide.detach().amax(1, keepdim=True)).clamp(min=-2 * reach)
    if alpha == 1.5:
        prob = package.entmax15(near, dim=1)
    elif alpha == 2:
        prob = package.sparsemax(near, dim=1)
    else:
        prob = package.entmax_bisect(near, alpha, dim=1)
    return torch.zeros_like(scores).index_put((some,), prob.to(scores.dtype))


def _package() -> Any:
    try:
        import entmax as package
    except ImportError as error:
        raise ImportError(
            "Entmax needs the package entmax, which comes with the extra 'dcm': "
            "pip install 'topox-difflift[dcm]'"
        ) from error
    return package
