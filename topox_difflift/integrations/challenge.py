"""The pipeline of the ICML 2024 topological deep learning challenge, with `DiffLift` in it."""

from __future__ import annotations

from importlib import import_module

from topox_difflift.integrations.frozen import FrozenDiffLift
from topox_difflift.integrations.registries import enter

__all__ = ["register"]


def register() -> None:
    """
    Enter `FrozenDiffLift` in the transforms of pyt-team/challenge-icml-2024.

    Afterwards ``transform_name: FrozenDiffLift`` names it in a configuration; one is shipped in
    ``topox_difflift/integrations/challenge_configs``. A second call changes nothing.

    Raises
    ------
    ImportError
        If the repository is not on Python's path.
    ValueError
        If another class has the name.
    """
    try:
        transforms = import_module("modules.transforms.data_transform")
    except ImportError as error:
        raise ImportError(
            f"register() needs the challenge's repository, which cannot be imported ({error}); it "
            "is no package: run from a checkout of pyt-team/challenge-icml-2024, or put it on "
            "PYTHONPATH, with what its env_setup.sh installs"
        ) from error
    enter(transforms.TRANSFORMS, FrozenDiffLift, "modules.transforms.data_transform.TRANSFORMS")
