"""Entering our classes where TopoBench looks its own up by name."""

from __future__ import annotations

from importlib import import_module

from topox_difflift.integrations.frozen import FrozenDiffLift
from topox_difflift.integrations.registries import enter
from topox_difflift.integrations.topobench.encoder import DiffLiftFeatureEncoder
from topox_difflift.integrations.topobench.loss import DiffLiftLoss
from topox_difflift.integrations.topobench.wrappers import (
    AdapterWrapper,
    LinearReadout,
    LinearWrapper,
)

__all__ = ["register"]

#: Module of TopoBench, its registry, and what goes there.
_PLACES = (
    ("topobench.nn.encoders", "FEATURE_ENCODERS", (DiffLiftFeatureEncoder,)),
    ("topobench.loss.model", "LOSSES", (DiffLiftLoss,)),
    ("topobench.nn.wrappers", "WRAPPER_CLASSES", (AdapterWrapper, LinearWrapper)),
    ("topobench.nn.readouts", "READOUT_CLASSES", (LinearReadout,)),
    ("topobench.transforms", "TRANSFORMS", (FrozenDiffLift,)),
)


def register() -> None:
    """
    Enter our classes in TopoBench's registries, under their names.

    Afterwards TopoBench's own configurations find them:
    ``model.feature_encoder.encoder_name=DiffLiftFeatureEncoder``, or ``transform_name:
    FrozenDiffLift``. A second call changes nothing. The configurations that this package ships
    need no call: they name classes by their full path, and the frozen lifting's registers it.

    Raises
    ------
    ImportError
        If TopoBench cannot be imported.
    ValueError
        If another class has one of the names.
    """
    try:
        modules = [import_module(name) for name, _, _ in _PLACES]
    except ImportError as error:
        raise ImportError(
            f"register() needs TopoBench, which cannot be imported ({error}); it is on no package "
            "index: run from a checkout of geometric-intelligence/TopoBench, or put it on "
            "PYTHONPATH, with what its pyproject.toml names"
        ) from error
    for module, (name, registry, classes) in zip(modules, _PLACES, strict=True):
        for cls in classes:
            enter(getattr(module, registry), cls, f"{name}.{registry}")
            # Configurations import them from there.
            enter(vars(module), cls, name)
