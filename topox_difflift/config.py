"""What a training run is made of, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- a dataclass shows its types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Data

from topox_difflift.checks import check_at_least, check_one_of, check_share
from topox_difflift.datasets import PLANTED
from topox_difflift.datasets.protocols import settle_protocol
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import LIFTINGS, FixedRate, leads_to
from topox_difflift.nn import TNNS, Carried, EmbedThenLift, TopologicalNetwork
from topox_difflift.nn.nodes import NODES_ONLY
from topox_difflift.options import make_lifting, schedules_of, settle_options
from topox_difflift.tasks import Task, task_of

if TYPE_CHECKING:
    from topox_difflift.schedules import Schedule

__all__ = ["NETWORKS", "TrainingConfig", "ended_untrained", "usual_domain"]

#: What a run can end in: the topological networks, and a plain GNN, which reads no cell.
NETWORKS = {**TNNS, "gnn": NODES_ONLY}

#: Learning rates of encoders that need another one.
_RATES = {"gps": 0.001}
#: Which lifting decides by what, and the default.
_DECIDING: dict[str, dict[str, Any]] = {
    "difflift": {"estimator": "straight_through"},
    "random": {"rate": 0.5},
}
#: What is usual where graphs are predicted, and where nodes are.
_RECIPES: dict[str, dict[str, float]] = {
    "graph": {"lr": 0.003, "dropout": 0.0, "weight_decay": 0.0},
    "node": {"lr": 0.01, "dropout": 0.5, "weight_decay": 5e-4},
}
#: Domains that hold planted cells, by dataset.
_HOLDING = {f"planted_{kind}": plan.domain for kind, plan in PLANTED.items()}
#: Features that are so many times as wide as the hidden layers are projected.
_WIDE = 4


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
        Topological domain; by default the one that `lifting` asks for, else the one of the cells
        that are planted in the dataset where `tnn` is for it, else the one that `tnn` asks for,
        else "cell".
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
    rate : float, optional
        Share of the cells that "random" accepts.
    options : mapping of str to object, optional
        Arguments of `DiffLift` and of its domain by name, those of
        `topox_difflift.options.OPTIONS`: for "difflift" all, for "accept_all" and "random" those
        that say what is proposed. ``{"paper": True}`` is the paper's own form. A schedule such as
        "step:0:0.05:16", see `topox_difflift.schedules.parse`, goes from value to value by epochs;
        an epoch can be selected once it has ended.
    hidden_channels, n_layers : int
        Width, and number of layers of the topological network.
    batch_size, max_epochs : int
        Graphs per step, and passes over the training set. Where nodes are predicted, a step
        takes the whole graph.
    patience : int, optional
        Epochs in succession without a better validation score after which a run stops; by
        default it goes on to `max_epochs`.
    lr : float, optional
        Learning rate of Adam; by default 0.001 with GPS, whose attention does not get off the
        ground at more, else 0.01 where nodes are predicted and 0.003 where graphs are.
    project : int, optional
        Width to which a learned linear layer, with a layer norm, brings the node features first,
        for every lifting and for a plain GNN; 0 for none. By default `hidden_channels` where the
        features are more than four times as wide, else none.
    dropout : float, optional
        Share of the features before and after they are projected, and of what the prediction is
        made from, that is dropped in training; by default 0.5 where nodes are predicted, else 0.
        Features that are not projected are left alone.
    weight_decay : float, optional
        Of Adam, for all parameters but those of the lifting: the gradient of an acceptance is
        so small that decay would decide in its place. By default 0.0005 where nodes are
        predicted, else 0.
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
    devices : int, optional
        Number of processes that train together, each on its own device and on its own share of
        the graphs; by default one. `batch_size` is that of each process, so that a step takes
        `devices` times as many graphs. Where nodes of one graph are predicted there is nothing
        to share.

    Raises
    ------
    ValueError
        If an option is unknown, impossible, or without effect beside the others.
    """

    dataset: str = "planted_hyperedges"
    root: str | None = None
    domain: str | None = None
    tnn: str | None = None
    lifting: str = "difflift"
    encoder: str = "gin"
    estimator: str | None = None
    rate: float | None = None
    options: Mapping[str, Any] | None = None
    hidden_channels: int = 32
    n_layers: int = 2
    batch_size: int = 32
    max_epochs: int = 20
    patience: int | None = None
    lr: float | None = None
    project: int | None = None
    dropout: float | None = None
    weight_decay: float | None = None
    seed: int = 0
    protocol: str | None = None
    fold: int | None = None
    device: str = "cpu"
    devices: int | None = None

    def __post_init__(self) -> None:
        """Check the options and fill in those that follow from others."""
        check_one_of("lifting", self.lifting, tuple(LIFTINGS))
        check_one_of("encoder", self.encoder, tuple(ENCODERS))
        check_one_of("device", self.device, ("cpu", "cuda"))
        for name in ("hidden_channels", "n_layers", "batch_size", "max_epochs"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("seed", self.seed, 0)
        if self.devices is not None:
            check_at_least("devices", self.devices, 1)
            # One alone is what a run without the setting has, and so the same run.
            self._settle(devices=None if self.devices == 1 else self.devices)
        if self.patience is not None:
            check_at_least("patience", self.patience, 1, "or None to go on to the last epoch")
        protocol, fold = settle_protocol(self.dataset, self.protocol, self.fold)
        self._settle(protocol=protocol, fold=fold)
        self._settle_recipe()
        self._settle_domain()
        self._settle_lifting()

    def _settle(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _settle_recipe(self) -> None:
        recipe = dict(_RECIPES[self.task.level])
        if self.encoder in _RATES:
            recipe["lr"] = _RATES[self.encoder]
        self._settle(**{k: v for k, v in recipe.items() if getattr(self, k) is None})
        if not self.lr > 0:  # type: ignore[operator]
            raise ValueError(f"Expected 'lr' to be positive (got {self.lr})")
        check_share("dropout", self.dropout)  # type: ignore[arg-type]
        if not self.weight_decay >= 0:  # type: ignore[operator]
            raise ValueError(f"Expected 'weight_decay' to be at least 0 (got {self.weight_decay})")
        if self.project is not None:
            check_at_least("project", self.project, 0, "0 for no projection")

    def _settle_domain(self) -> None:
        domain, tnn, target = self.domain, self.tnn, leads_to(self.lifting)
        if tnn is not None:
            check_one_of("tnn", tnn, tuple(NETWORKS))
        if domain is None:
            domain = usual_domain(self.lifting, tnn, self.dataset)
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
        self._settle(domain=domain, tnn=tnn)

    def _settle_lifting(self) -> None:
        if self.lifting == "oracle" and self.dataset not in _HOLDING:
            raise ValueError(
                f"Expected 'dataset' to be {' or '.join(_HOLDING)} with lifting 'oracle', which "
                f"takes planted cells (got {self.dataset!r}); take another lifting"
            )
        assert self.tnn is not None  # noqa: S101 -- settled before, for the type checker
        assert self.domain is not None  # noqa: S101
        own = _DECIDING.get(self.lifting, {})
        for having, settings in _DECIDING.items():
            for name in settings.keys() - own.keys():
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"Expected no {name!r} with lifting {self.lifting!r}, where it would have "
                        f"no effect; leave it out, or take lifting {having!r}"
                    )
        self._settle(**{k: v for k, v in own.items() if getattr(self, k) is None})
        if self.estimator is not None:
            check_one_of("estimator", self.estimator, tuple(ESTIMATORS))
            if NETWORKS[self.tnn].learns == () and ESTIMATORS[self.estimator].pathwise:
                raise ValueError(
                    "Expected 'tnn' to be a network that a lifting can learn through (got "
                    f"{self.tnn!r}, which {NETWORKS[self.tnn].why}); take another, estimator "
                    "'score_function', or a static lifting"
                )
        if self.rate is not None:
            FixedRate(self.rate)  # checks it
        level = self.task.level
        options = settle_options(self.options or {}, self.lifting, self.domain, level)
        self._settle(options=options)
        self._check_schedules()

    def _check_schedules(self) -> None:
        assert self.options is not None  # noqa: S101 -- settled before, for the type checker
        if self.options.get("temperature") is not None and self.estimator != "gumbel":
            raise ValueError(
                f"Expected no 'temperature' with estimator {self.estimator!r}, which has none; "
                "leave it out, or take estimator 'gumbel'"
            )
        if self.first_epoch >= self.max_epochs:
            last = max(self.schedules.values(), key=lambda schedule: schedule.steps)
            raise ValueError(
                f"Expected 'max_epochs' to be more than {self.first_epoch}, where the schedule "
                f"{str(last)!r} ends and epochs begin to count (got {self.max_epochs}); train "
                "longer, or take a shorter one"
            )

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Options that change from epoch to epoch, and how."""
        return schedules_of(self.options or {})

    @property
    def first_epoch(self) -> int:
        """The first epoch that can be selected: that in which all schedules have ended."""
        return _first_epoch(self.options)

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
        smallest = _smallest_graph(in_channels, edge_channels)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.seed)
            hidden = self.hidden_channels
            project, width = self._projection(in_channels)
            encoder = ENCODERS[self.encoder](width, hidden)
            # At once, so that its weights do not depend on the lifting.
            z = smallest.x.new_zeros(3, width)
            encoder(z, smallest.edge_index, smallest.batch, smallest.edge_attr)
            tnn = self._build_tnn(width + hidden)
            model = TopologicalNetwork(
                EmbedThenLift(encoder, self._lifting(tnn), project),
                tnn,
                out_channels,
                self.task.level,
                readout=(self.options or {}).get("readout"),
                hidden_channels=hidden,
                dropout=float(self.dropout or 0),
                adapter=NETWORKS[str(self.tnn)],
            )
            model.eval()(smallest)
        return model.train()

    def _projection(self, in_channels: int) -> tuple[torch.nn.Module | None, int]:
        """Make what the node features pass through first, and say how wide they then are."""
        width = self.project
        if width is None:
            width = self.hidden_channels if in_channels > _WIDE * self.hidden_channels else 0
        if width == 0:
            return None, in_channels
        dropout = torch.nn.Dropout(float(self.dropout or 0))
        linear = torch.nn.Linear(in_channels, width, bias=False)
        # Of rows that sum to 1 the layer makes features so small that any bias would hide them.
        return torch.nn.Sequential(dropout, linear, torch.nn.LayerNorm(width), dropout), width

    def _build_tnn(self, channels: int) -> torch.nn.Module:
        assert self.tnn is not None  # noqa: S101 -- settled above, for the type checker
        assert self.domain is not None  # noqa: S101
        adapter, topology = NETWORKS[self.tnn], DOMAINS[self.domain].topology
        if adapter.build is None:
            raise ValueError(
                f"Expected 'tnn' to be a network that can be built by name (got {self.tnn!r}, "
                "whose adapter has no 'build')"
            )
        options = adapter.of_domain.get(topology, {})
        return adapter.build(channels, self.hidden_channels, self.n_layers, **options)

    def _lifting(self, tnn: torch.nn.Module) -> torch.nn.Module:
        make, width = LIFTINGS[self.lifting], self.hidden_channels
        assert self.tnn is not None  # noqa: S101 -- settled above, for the type checker
        known = NETWORKS[self.tnn].settled(tnn)
        if self.options:
            options = dict(self.options)
            if not known.kept:
                options["rejected"] = "drop"
            for name in _DECIDING.get(self.lifting, {}):
                options[name] = getattr(self, name)
            return make_lifting(
                self.lifting,
                str(self.domain),
                options,
                # Ranks that the network does not read would never be trained.
                max_rank=known.max_rank,
                encoder=Carried(width),
                hidden_channels=width,
                generator=torch.Generator(),
            )
        if self.lifting == "knn":  # by neither a learned projection nor the embedding
            return make(key="given")
        return make() if leads_to(self.lifting) else make(self.domain, known.max_rank)


def usual_domain(lifting: str, tnn: str | None, dataset: str = "") -> str:
    """
    Domain of a run that names none.

    Parameters
    ----------
    lifting : str
        Name in `LIFTINGS`.
    tnn : str, optional
        Name in `NETWORKS`.
    dataset : str, default=""
        Name of the dataset.

    Returns
    -------
    str
        The one that the lifting leads to, else the one that holds the cells that are planted in
        the dataset, else the first that the network is for, else "cell". A plain GNN reads no
        cell, and a network that is not for the domain of planted cells has its own.
    """
    if domain := leads_to(lifting):
        return domain
    holding = _HOLDING.get(dataset, "cell")
    if tnn is None or (tnn in TNNS and dataset in _HOLDING and holding in TNNS[tnn].domains):
        return holding
    return NETWORKS[tnn].domains[0]


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


def ended_untrained(
    config: Mapping[str, Any], best_epoch: int, epochs: int, val: float, higher_is_better: bool
) -> bool:
    """
    Whether patience ended a run before any epoch validated better than the first that counts.

    Parameters
    ----------
    config : mapping of str to object
        The fields of a `TrainingConfig`, or those that the run was recorded with.
    best_epoch, epochs : int
        The epoch that validated best, and how many there were.
    val : float
        Its validation metric.
    higher_is_better : bool
        The direction of the metric.

    Returns
    -------
    bool
        False where nothing could have been better: an accuracy of 1, or an error of 0.
    """
    first, patience = _first_epoch(config.get("options")), config.get("patience")
    waited = patience is not None and epochs - 1 - best_epoch >= patience
    return waited and best_epoch == first and val != (1 if higher_is_better else 0)


def _first_epoch(options: Mapping[str, Any] | None) -> int:
    return max((schedule.steps for schedule in schedules_of(options or {}).values()), default=0)
