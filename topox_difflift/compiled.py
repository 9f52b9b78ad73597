"""Where loops that numba compiles may take over from tensor operations: small ones, on the host."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["arrays", "numba_installed", "usable"]


@cache
def numba_installed() -> bool:
    """
    Whether numba, an optional package, is there.

    Returns
    -------
    bool
        True if it can be imported.
    """
    return importlib.util.find_spec("numba") is not None


def usable(*tensors: Tensor) -> bool:
    """
    Whether compiled loops can work on some tensors.

    Parameters
    ----------
    *tensors : torch.Tensor
        The tensors.

    Returns
    -------
    bool
        True if numba is installed, and all are on the host and of one dtype: float32, float64
        or int64. Otherwise tensor operations do the same, and where `torch.compile` traces, which
        cannot see into the loops.
    """
    dtype = tensors[0].dtype
    return (
        dtype in (torch.float32, torch.float64, torch.int64)
        and all(tensor.device.type == "cpu" and tensor.dtype == dtype for tensor in tensors)
        and numba_installed()
        and not torch.compiler.is_compiling()
    )


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """
    View tensors as arrays.

    Parameters
    ----------
    *tensors : torch.Tensor
        Tensors on the host.

    Returns
    -------
    tuple of numpy.ndarray
        The same memory, without gradient; contiguous, since a loop is compiled for each layout.
    """
    return tuple(
        (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()
        for tensor in tensors
    )
