"""Controls: the lifting that is learned, with its acceptance replaced by none or by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from topox_difflift.estimators import Acceptance, Estimator
from topox_difflift.lift import DiffLift

if TYPE_CHECKING:
    from topox_difflift.domains import Domain

__all__ = ["FixedRate", "accept_all", "random_acceptance"]

# Spreads logits that lie close together over the unit interval.
_SPREAD = 1000 * (5**0.5 + 1) / 2


class FixedRate(Estimator):
    """
    Accept every candidate with the same probability, whatever the network Psi says.

    In place of a learned estimator it shows what learning to accept is worth: encoder,
    candidates and their memberships, and learned sizes stay as they are. A rate of 1 accepts
    all, and the rate that a learned lifting came to (``summary().ranks[r - 1].acceptance_rate``)
    leaves the number of cells as it is and takes away the choice.

    Parameters
    ----------
    rate : float, default=1.0
        Probability, from 0 to 1.

    Raises
    ------
    ValueError
        If `rate` is no probability.

    Notes
    -----
    The decision passes no gradient on: Psi is not trained, and the encoder only by the features
    and memberships of the cells. `prob_r` of the complex is still what Psi says, with its
    gradient, and so are "expected_cells" and "entropy" of `DiffLift.regularization`: they decide
    nothing here, and do not belong in the loss. The same holds for `cell_budget` and
    `rescue`, which choose by Psi.

    Training draws from the generator. In `eval()` the draw is a function of the candidate, the
    fractional part of a large multiple of its logit: about the same rate of candidates is
    accepted, and up to the rounding of the logit the same ones at every call, in any batch and
    under any numbering of the nodes. Candidates with equal logits share one draw, so that among
    many that are alike, as in molecules with few kinds of atoms, the rate may be missed.

    Examples
    --------
    >>> from topox_difflift import DiffLift
    >>> from topox_difflift.liftings import FixedRate
    >>> every_candidate = DiffLift("cell", estimator=FixedRate())
    >>> by_chance = DiffLift("cell", estimator=FixedRate(0.3))
    """

    #: True at rate 1 as well, since the sizes of neighbourhoods are to be drawn as ever.
    stochastic: ClassVar[bool] = True

    def __init__(self, rate: float = 1.0) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"Expected 'rate' to be a probability from 0 to 1 (got {rate})")
        self.rate = float(rate)

    def extra_repr(self) -> str:
        """
        Show the rate.

        Returns
        -------
        str
            Text for `repr`.
        """
        return f"rate={self.rate}"

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide by a draw that does not depend on the probability.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            The draws, with a constant as surrogate.
        """
        prob = torch.sigmoid(logits)
        if self.training:
            draw = torch.empty_like(prob, dtype=torch.get_default_dtype())
            draw.uniform_(generator=generator)
        else:
            draw = (logits.detach().double() * _SPREAD) % 1
        return Acceptance(prob, draw < self.rate, torch.full_like(prob, self.rate))


def accept_all(domain: str | Domain = "cell", **options: Any) -> DiffLift:
    """
    Make a lifting that proposes cells as `DiffLift` does, and accepts all of them.

    Parameters
    ----------
    domain : str or Domain, default="cell"
        Where to lift to.
    **options : dict
        Arguments of `DiffLift`.

    Returns
    -------
    DiffLift
        The lifting, with the estimator `FixedRate(1.0)`.
    """
    return DiffLift(domain, estimator=FixedRate(), **options)


def random_acceptance(
    domain: str | Domain = "cell", *, rate: float = 0.5, **options: Any
) -> DiffLift:
    """
    Make a lifting that proposes cells as `DiffLift` does, and accepts each by chance.

    Parameters
    ----------
    domain : str or Domain, default="cell"
        Where to lift to.
    rate : float, default=0.5
        Probability of each candidate.
    **options : dict
        Arguments of `DiffLift`.

    Returns
    -------
    DiffLift
        The lifting, with the estimator `FixedRate(rate)`.

    Raises
    ------
    ValueError
        If an argument is impossible.
    """
    return DiffLift(domain, estimator=FixedRate(rate), **options)
