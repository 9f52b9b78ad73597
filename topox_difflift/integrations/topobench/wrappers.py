"""TopoBench's wrappers and readouts, at a cost linear in the entries of the matrices."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from topox_difflift.nn.adapters import adapter_of
from topox_difflift.nn.models import TNNS
from topox_difflift.products import LinearProducts

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["AdapterWrapper", "LinearReadout", "LinearWrapper"]


class LinearWrapper(torch.nn.Module):
    """
    One of TopoBench's backbone wrappers, run within `LinearProducts`.

    PyTorch's backward pass through a product with a learned sparse matrix makes a dense one of
    its shape, and fails under autocast; this one does neither, with the same results.

    Parameters
    ----------
    backbone : torch.nn.Module
        The network.
    wrapper_name : str
        Name of the class in `topobench.nn.wrappers`.
    **kwargs
        Its arguments.

    Raises
    ------
    ImportError
        If TopoBench is not installed.
    ValueError
        If it has no wrapper of this name.
    """

    def __init__(self, backbone: torch.nn.Module, wrapper_name: str, **kwargs: Any) -> None:
        super().__init__()
        self.wrapped = _find("wrapper_name", wrapper_name, "topobench.nn.wrappers")(
            backbone, wrapper_name=wrapper_name, **kwargs
        )

    def forward(self, batch: Data) -> dict[str, Any]:
        """
        Run the wrapper.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            The batch.

        Returns
        -------
        dict
            What the wrapper returns.
        """
        with LinearProducts():
            return self.wrapped(batch)


class LinearReadout(torch.nn.Module):
    """
    One of TopoBench's readouts, run within `LinearProducts`.

    Parameters
    ----------
    readout_name : str
        Name of the class in `topobench.nn.readouts`.
    **kwargs
        Its arguments.

    Attributes
    ----------
    task_level : str
        What is predicted for, "graph" or "node".

    Raises
    ------
    ImportError
        If TopoBench is not installed.
    ValueError
        If it has no readout of this name.
    """

    def __init__(self, readout_name: str, **kwargs: Any) -> None:
        super().__init__()
        found = _find("readout_name", readout_name, "topobench.nn.readouts")
        self.wrapped = found(readout_name=readout_name, **kwargs)
        self.task_level = self.wrapped.task_level

    def forward(self, model_out: dict[str, Any], batch: Data) -> dict[str, Any]:
        """
        Run the readout.

        Parameters
        ----------
        model_out : dict
            Output of the wrapper.
        batch : torch_geometric.data.Data
            The batch.

        Returns
        -------
        dict
            What the readout returns.
        """
        with LinearProducts():
            return self.wrapped(model_out=model_out, batch=batch)


class AdapterWrapper(torch.nn.Module):
    """
    Wrapper for the networks that this package knows how to run on a complex.

    It reads the complex itself, where TopoBench's wrapper reads the batch: for networks whose
    TopoBench wrapper does not let a lifting learn, or divides by zero.

    Parameters
    ----------
    backbone : torch.nn.Module
        A network in `topox_difflift.nn.TNNS`, such as `topox_difflift.nn.GCCN`.
    out_channels : int
        Width of the features, in and out.
    num_cell_dimensions : int
        Number of ranks whose features are returned.
    wrapper_name : str, optional
        Key of the configuration that TopoBench reads itself.
    residual_connections : bool, default=True
        Whether the features that went in are added to those that come out, and the sum
        normalised, as TopoBench's wrappers do.

    Raises
    ------
    ValueError
        If the network is not known.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        out_channels: int,
        num_cell_dimensions: int,
        wrapper_name: str | None = None,
        residual_connections: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.residual_connections = backbone, residual_connections
        self.adapter = adapter_of(backbone, TNNS)
        self.norms = torch.nn.ModuleList(
            [torch.nn.LayerNorm(out_channels) for _ in range(num_cell_dimensions)]
        )

    def forward(self, batch: Data) -> dict[str, Any]:
        """
        Run the network.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            The batch, after its `DiffLiftFeatureEncoder`.

        Returns
        -------
        dict
            "labels", "batch_0" and the features "x_r" of the first `num_cell_dimensions` ranks.

        Raises
        ------
        ValueError
            If rejected cells were kept, and the network cannot tell them from others.
        """
        lifted = batch["lifted"]
        if not self.adapter.settled(self.backbone).kept and lifted.accepted() is not lifted:
            raise ValueError(
                f"Expected no rejected cells for {self.adapter.name}, to which they are like "
                "others (got some); model.feature_encoder.rejected=drop"
            )
        features = self.adapter.run(self.backbone, lifted)
        model_out = {"labels": batch.y, "batch_0": batch.batch_0}
        for rank, norm in enumerate(self.norms):
            x = features[rank]
            if self.residual_connections:
                x = norm(x + batch[f"x_{rank}"])
            model_out[f"x_{rank}"] = x
        return model_out


def _find(argument: str, name: str, module: str) -> Any:
    """Class of TopoBench by its name."""
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ImportError(
            f"{argument}={name!r} names a class of TopoBench, which cannot be imported ({error}); "
            "run from a checkout of geometric-intelligence/TopoBench, or put it on PYTHONPATH"
        ) from error
    if found is None:
        raise ValueError(
            f"Expected '{argument}' to be the name of a class in {module} (got {name!r}); see "
            "TopoBench's own configurations"
        )
    return found
