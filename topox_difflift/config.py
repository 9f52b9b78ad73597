"""What a training run is made of, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.data import Data

from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.datasets import PLANTED
from topox_difflift.datasets.protocols import settle_protocol
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import LIFTINGS, FixedRate, leads_to
from topox_difflift.nn import TNNS, Carried, EmbedThenLift, TopologicalNetwork
from topox_difflift.nn.nodes import NODES_ONLY
from topox_difflift.tasks import Task, task_of

__all__ = ["NETWORKS", "TrainingConfig"]

#: What a run can end in: the topological networks, and a plain GNN, which reads no cell.
NETWORKS = {**TNNS, "gnn": NODES_ONLY}

#: Learning rates of encoders that need another one than 0.003.
_RATES = {"gps": 0.001}
_SIZES = {"k_min": 2, "k_max": 5}
#: Options that only some liftings have, with their defaults.
_OPTIONS: dict[str, dict[str, Any]] = {
    "difflift": {"estimator": "straight_through", "memberships": "kernel", **_SIZES},
    "accept_all": _SIZES,
    "random": {"rate": 0.5, **_SIZES},
}


@dataclass(frozen=True)
class TrainingConfig:
    """
    Everything that determines a run.

    Attributes
    ----------
    dataset : str
        A name that `topox_difflift.datasets.load_dataset` takes. It says what is predicted,
        and by which metric an epoch is selected and tested.
    root : str, optional
        Folder of the dataset; by default the one that the environment variable
        ``TOPOX_DIFFLIFT_DATA`` names, else "data".
    domain : str, optional
        Topological domain; by default the one that `lifting` and `tnn` ask for, else "cell".
    tnn : str, optional
        Topological network, or "gnn": none, what follows the encoder reads the nodes alone. By
        default the one for the domain.
    lifting : str
        Name in `topox_difflift.liftings.LIFTINGS`: the learned lifting ("difflift"), the same
        with another acceptance ("accept_all", "random"), a static one, or the planted cells
        ("oracle"). All have the same encoder.
    encoder : {"gin", "gps"}
        Node embedding.
    estimator : str, optional
        How "difflift" accepts cells. "score_function" lifts each batch four times a step.
    memberships : {"kernel", "hard"}, optional
        Whether memberships of "difflift" carry a gradient to the distances that chose them.
    rate : float, optional
        Share of the cells that "random" accepts.
    k_min, k_max : int, optional
        Bounds of the learned neighbourhood size of "difflift", "accept_all" and "random".
    hidden_channels, n_layers : int
        Width, and number of layers of the topological network.
    batch_size, max_epochs : int
        Graphs per step, and passes over the training set. Where nodes are predicted, a step
        takes the whole graph.
    patience : int, optional
        Epochs in succession without a better validation score after which a run stops; by
        default it goes on to `max_epochs`.
    lr : float, optional
        Learning rate of Adam; by default 0.003 with GIN and 0.001 with GPS, whose attention
        does not get off the ground at more.
    seed : int
        Seed of the split, the initialisation, the batches and the lifting.
    protocol : str, optional
        How the dataset is split, see `topox_difflift.datasets.load_splits`; by default the
        first protocol that the dataset has.
    fold : int, optional
        Which of ten splits, from 0 to 9: a round of a ten-fold cross-validation, by default
        one split of 80, 10 and 10 %, or one of the published splits, by default the first.
        The folds of a cross-validation are the same for all rounds of a seed.
    device : {"cpu", "cuda"}
        Where to train. Figures from "cuda" differ from those of the host by rounding and by the
        draws, and from run to run by the order of sums.

    Raises
    ------
    ValueError
        If an option is unknown, impossible, or without effect beside the others.
    """

    dataset: str = "molecules"
    root: str | None = None
    domain: str | None = None
    tnn: str | None = None
    lifting: str = "difflift"
    encoder: str = "gin"
    estimator: str | None = None
    memberships: str | None = None
    rate: float | None = None
    k_min: int | None = None
    k_max: int | None = None
    hidden_channels: int = 32
    n_layers: int = 2
    batch_size: int = 32
    max_epochs: int = 20
    patience: int | None = None
    lr: float | None = None
    seed: int = 0
    protocol: str | None = None
    fold: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check the options and fill in those that follow from others."""
        check_one_of("lifting", self.lifting, tuple(LIFTINGS))
        check_one_of("encoder", self.encoder, tuple(ENCODERS))
        check_one_of("device", self.device, ("cpu", "cuda"))
        for name in ("hidden_channels", "n_layers", "batch_size", "max_epochs"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("seed", self.seed, 0)
        if self.patience is not None:
            check_at_least("patience", self.patience, 1, "or None to go on to the last epoch")
        protocol, fold = settle_protocol(self.dataset, self.protocol, self.fold)
        object.__setattr__(self, "protocol", protocol)
        object.__setattr__(self, "fold", fold)
        if self.lr is None:
            object.__setattr__(self, "lr", _RATES.get(self.encoder, 0.003))
        elif not self.lr > 0:
            raise ValueError(f"Expected 'lr' to be positive (got {self.lr})")
        self._settle_domain()
        self._settle_lifting()

    def _settle_domain(self) -> None:
        domain, tnn, target = self.domain, self.tnn, leads_to(self.lifting)
        if tnn is not None:
            check_one_of("tnn", tnn, tuple(NETWORKS))
        if domain is None:
            domain = target or (NETWORKS[tnn].domains[0] if tnn else "cell")
        check_one_of("domain", domain, tuple(DOMAINS))
        topology = DOMAINS[domain].topology
        fitting = [name for name, adapter in NETWORKS.items() if topology in adapter.domains]
        if tnn is None:
            tnn = fitting[0]
        if tnn not in fitting:
            raise ValueError(
                f"Expected 'tnn' to be {' or '.join(fitting)} for domain {domain!r} (got {tnn!r}, "
                f"which is for {', '.join(NETWORKS[tnn].domains)})"
            )
        if target not in (None, domain):
            raise ValueError(
                f"Expected 'domain' to be {target!r} with lifting {self.lifting!r}, which makes "
                f"no other (got {domain!r})"
            )
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "tnn", tnn)

    def _settle_lifting(self) -> None:
        planted = [f"planted_{kind}" for kind in PLANTED]
        if self.lifting == "oracle" and self.dataset not in planted:
            raise ValueError(
                f"Expected 'dataset' to be {' or '.join(planted)} with lifting 'oracle', which "
                f"takes planted cells (got {self.dataset!r}); take another lifting"
            )
        names = {name for options in _OPTIONS.values() for name in options}
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        settled = {**_OPTIONS.get(self.lifting, {}), **given}
        for name in sorted(settled.keys() - _OPTIONS.get(self.lifting, {}).keys()):
            having = [lifting for lifting, options in _OPTIONS.items() if name in options]
            raise ValueError(
                f"Expected no {name!r} with lifting {self.lifting!r}, where it would have no "
                f"effect; leave it out, or take lifting {' or '.join(map(repr, having))}"
            )
        assert self.tnn is not None  # noqa: S101 -- settled before, for the type checker
        if "estimator" in settled:
            check_one_of("estimator", settled["estimator"], tuple(ESTIMATORS))
            if NETWORKS[self.tnn].learns == () and ESTIMATORS[settled["estimator"]].pathwise:
                raise ValueError(
                    "Expected 'tnn' to be a network that a lifting can learn through (got "
                    f"{self.tnn!r}, which {NETWORKS[self.tnn].why}); take another, estimator "
                    "'score_function', or a static lifting"
                )
        if "memberships" in settled:
            check_one_of("memberships", settled["memberships"], ("kernel", "hard"))
        if "rate" in settled:
            FixedRate(settled["rate"])  # checks it
        if "k_min" in settled:
            check_at_least("k_min", settled["k_min"], 1)
            if "k_max" not in given:
                settled["k_max"] = max(settled["k_min"], settled["k_max"])
            check_at_least("k_max", settled["k_max"], settled["k_min"], "the value of k_min")
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def task(self) -> Task:
        """What is predicted."""
        return task_of(self.dataset)

    def build(self, in_channels: int, edge_channels: int, out_channels: int) -> TopologicalNetwork:
        """
        Build the model, initialised from the seed.

        Parameters
        ----------
        in_channels : int
            Width of the node features.
        edge_channels : int
            Width of the edge features, 0 if there are none.
        out_channels : int
            Width of the prediction.

        Returns
        -------
        TopologicalNetwork
            The model; no parameter waits for a first input. The global seed is as before.
        """
        hidden, smallest = self.hidden_channels, _smallest_graph(in_channels, edge_channels)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.seed)
            encoder = ENCODERS[self.encoder](in_channels, hidden)
            # At once, so that its weights do not depend on the lifting.
            encoder(smallest.x, smallest.edge_index, smallest.batch, smallest.edge_attr)
            tnn = self._build_tnn(in_channels + hidden)
            lift = EmbedThenLift(encoder, self._lifting(in_channels, tnn))
            adapter, level = NETWORKS[str(self.tnn)], self.task.level
            model = TopologicalNetwork(
                lift, tnn, out_channels, level, hidden_channels=hidden, adapter=adapter
            )
            model.eval()(smallest)
        return model.train()

    def _build_tnn(self, channels: int) -> torch.nn.Module:
        assert self.tnn is not None  # noqa: S101 -- settled above, for the type checker
        build = NETWORKS[self.tnn].build
        if build is None:
            raise ValueError(
                f"Expected 'tnn' to be a network that can be built by name (got {self.tnn!r}, "
                "whose adapter has no 'build')"
            )
        return build(channels, self.hidden_channels, self.n_layers)

    def _lifting(self, in_channels: int, tnn: torch.nn.Module) -> torch.nn.Module:
        make, width = LIFTINGS[self.lifting], self.hidden_channels
        assert self.tnn is not None  # noqa: S101 -- settled above, for the type checker
        known = NETWORKS[self.tnn].settled(tnn)
        if self.lifting in _OPTIONS:
            return make(
                self.domain,
                # Ranks that the network does not read would never be trained.
                max_rank=known.max_rank,
                rejected="keep" if known.kept else "drop",
                encoder=Carried(width),
                hidden_channels=width,
                generator=torch.Generator(),
                **{name: getattr(self, name) for name in _OPTIONS[self.lifting]},
            )
        if self.lifting == "knn":  # not by the embedding, which the features carry along
            return make(in_channels=in_channels)
        return make() if leads_to(self.lifting) else make(self.domain, known.max_rank)


def _smallest_graph(in_channels: int, edge_channels: int) -> Data:
    """Make a triangle, planted too, with a cell of each rank that parameters could wait for."""
    edge_index = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    edge_attr = torch.zeros(6, edge_channels) if edge_channels else None
    return Data(
        x=torch.zeros(3, in_channels),
        edge_index=edge_index,
        edge_attr=edge_attr,
        batch=torch.zeros(3, dtype=torch.long),
        planted_index=torch.arange(3),
        planted_size=torch.tensor([3]),
    )
