"""A Hydra callback, by which a configuration alone can register our classes."""

from __future__ import annotations

from typing import Any

from topox_difflift.integrations.topobench._bases import Callback
from topox_difflift.integrations.topobench.registration import register

__all__ = ["RegisterCallback"]


class RegisterCallback(Callback):
    """Call `register` before a job of Hydra's starts."""

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """
        Register.

        Parameters
        ----------
        config : omegaconf.DictConfig
            Configuration of the job, not read.
        **kwargs
            What else Hydra says of it.
        """
        register()
