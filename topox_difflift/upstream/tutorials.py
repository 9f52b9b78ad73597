"""TopoModelX's tutorials with a learned lifting in the place of their static one."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Any

from topox_difflift.upstream.checkout import Kit
from topox_difflift.upstream.notebooks import notebook
from topox_difflift.upstream.templates import template

__all__ = ["LEFT", "TOPOMODELX_TUTORIALS", "TUTORIALS", "Tutorial"]

#: What is known of each dataset: the template, how it is loaded, and what is said about it.
_DATASETS = {
    "MUTAG": {"template": "graphs"},
    "Cora": {
        "template": "nodes",
        "imports": "from topox_difflift.datasets import load_dataset",
        "load": 'data = load_dataset("Cora")[0]',
        "about": "We load Cora, a benchmark dataset for node classification.",
        "n_classes": "7",
    },
    "Karate Club": {
        "template": "nodes",
        "imports": (
            "import networkx as nx\n"
            "from torch_geometric.data import Data\n"
            "from torch_geometric.utils import to_undirected"
        ),
        "load": """\
club = nx.karate_club_graph()
edge_index = to_undirected(torch.tensor(list(club.edges)).t())
# As in tnx.datasets.karate_club: eigenvectors of the graph Laplacian.
laplacian = torch.tensor(nx.laplacian_matrix(club, weight=None).todense()).float()
train_mask = torch.arange(len(club)) < 30
data = Data(
    x=torch.linalg.eigh(laplacian).eigenvectors[:, :2],
    edge_index=edge_index,
    y=torch.tensor([int(club.nodes[v]["club"] == "Mr. Hi") for v in club]),
    train_mask=train_mask,
    test_mask=~train_mask,
)""",
        "about": (
            "The Karate Club is one graph of 34 members, who belong to two groups. The group of "
            "the last four is predicted from those of the others."
        ),
        "n_classes": "2",
    },
}


@dataclass(frozen=True)
class Tutorial:
    """
    A tutorial of TopoModelX, and how its lifting is replaced.

    Attributes
    ----------
    path : str
        Where it is below ``tutorials/``, without ``_train.ipynb``.
    network : str
        Class of TopoModelX that it trains; its module has the name of the tutorial.
    data : str
        "MUTAG", "Cora" or "Karate Club".
    build : str
        Call that builds the network, with the tutorial's own options.
    lift : str
        Call that builds the learned lifting.
    static : str
        Call that builds the tutorial's own lifting.
    epochs : int
        Number of epochs.
    lr : float
        Learning rate.
    n_graphs : int, optional
        How many graphs it takes; by default all.
    """

    path: str
    network: str
    data: str
    build: str
    lift: str
    static: str
    epochs: int
    lr: float = 0.01
    n_graphs: int | None = None

    def notebook(self) -> str:
        """
        Write the tutorial with the learned lifting.

        Returns
        -------
        str
            A notebook, without outputs.
        """
        name = self.path.rpartition("/")[2].replace("_", "-")
        return notebook(name, self.script())

    def script(self) -> str:
        """
        Write the tutorial as a script.

        Returns
        -------
        str
            Code and prose, in cells that ``# %%`` begins.
        """
        known = dict(_DATASETS[self.data])
        return Template(template(f"tutorials/{known.pop('template')}.txt")).substitute(
            known,
            article="an" if self.network[0] in "AHS" else "a",
            network=self.network,
            origin=f"{self.path.rpartition('/')[2]}_train.ipynb",
            module=self.path.replace("/", "."),
            dataset=self.data,
            how_many="the first 100" if self.n_graphs else "the",
            slice=f"[:{self.n_graphs}]" if self.n_graphs else "",
            build=self.build,
            lift=self.lift,
            static=self.static,
            epochs=self.epochs,
            interval=max(1, self.epochs // 5),
            lr=self.lr,
        )


def _on_mutag(path: str, network: str, build: str, lift: str, **options: Any) -> Tutorial:
    static = f"NoLifting({options.pop('domain')})"
    return Tutorial(path, network, "MUTAG", build, lift, static, epochs=30, **options)


def _on_cora(name: str, network: str, options: str, lift: str = "") -> Tutorial:
    build = f"{network}(in_channels=1433, hidden_channels=128, {options})"
    lift = f'DiffLift("hypergraph"{lift})'
    path = f"hypergraph/{name}"
    return Tutorial(path, network, "Cora", build, lift, "KHopLifting(k=1)", epochs=5)


def _on_karate(name: str, network: str, build: str, options: str = "") -> Tutorial:
    lift = f'DiffLift("simplicial"{options})'
    static = "CliqueLifting()"
    path = f"simplicial/{name}"
    return Tutorial(path, network, "Karate Club", build, lift, static, epochs=50)


_DROP = ', rejected="drop"'

#: Those whose data can be had without TopoNetX's download, and whose network can learn a lifting.
TUTORIALS = (
    _on_mutag(
        "cell/can",
        "CAN",
        "CAN(7, 7, 32, dropout=0.5, heads=2, n_layers=2, att_lift=True)",
        'DiffLift("cell", rejected="drop")',
        domain='"cell"',
    ),
    _on_mutag(
        "hypergraph/unigcn",
        "UniGCN",
        "UniGCN(in_channels=7, hidden_channels=32, n_layers=2)",
        'DiffLift("hypergraph")',
        domain='"hypergraph"',
        n_graphs=100,
    ),
    _on_mutag(
        "hypergraph/unigin",
        "UniGIN",
        "UniGIN(7, hidden_channels=32, n_layers=3, input_drop=0.2, layer_drop=0.2)",
        'DiffLift("hypergraph")',
        domain='"hypergraph"',
        n_graphs=100,
    ),
    _on_cora("allset", "AllSet", "n_layers=1, mlp_num_layers=1"),
    _on_cora("allset_transformer", "AllSetTransformer", "n_layers=1, mlp_num_layers=2", _DROP),
    _on_cora("hmpnn", "HMPNN", "n_layers=1", _DROP),
    _on_cora("unigcnii", "UniGCNII", "n_layers=2, input_drop=0.5", _DROP),
    _on_cora("unisage", "UniSAGE", "n_layers=1, input_drop=0.2, layer_drop=0.2"),
    _on_karate("hsn", "HSN", "HSN(channels=2, n_layers=2)", ", max_rank=1"),
    _on_karate("san", "SAN", "SAN(in_channels=2, hidden_channels=16, n_layers=1)", _DROP),
    _on_karate("sca_cmps", "SCACMPS", "SCACMPS([2, 2, 2], complex_dim=3, n_layers=1)"),
    _on_karate("sccn", "SCCN", "SCCN(channels=2, max_rank=2, n_layers=2)"),
    _on_karate(
        "sccnn",
        "SCCNN",
        'SCCNN((2, 2, 2), (16, 16, 16), conv_order=2, sc_order=3, update_func="sigmoid")',
    ),
    _on_karate("scconv", "SCConv", "SCConv(node_channels=2, n_layers=1)"),
    _on_karate(
        "scnn",
        "SCNN",
        "SCNN(2, hidden_channels=16, conv_order_down=2, conv_order_up=2, n_layers=1)",
    ),
)

_MESHES = "SHREC16, which TopoNetX downloads; its complexes are meshes, and no graph is lifted"
#: Why the others are left as they are.
LEFT = {
    "cell/ccxn": _MESHES,
    "cell/cwn": _MESHES,
    "combinatorial/hmc": _MESHES,
    "hypergraph/dhgcn": f"{_MESHES}; and DHGCN takes no topology, but makes its own",
    "hypergraph/hypergat": _MESHES,
    "hypergraph/hnhn": (
        "HNHN fills two dense matrices entry by entry whenever the incidence matrix changes, with "
        "a gradient through each entry: a backward pass took 0.3 s on 300 nodes and 3.7 s on 600, "
        "and Cora has 2708"
    ),
    "hypergraph/hypersage": (
        "HyperSAGE reads neither the values of the incidence matrix nor features of hyperedges, so "
        'no gradient reaches a lifting; only DiffLift(estimator="score_function") could learn'
    ),
    "simplicial/dist2cycle": (
        "Dist2Cycle has a row of weights for each edge, so the number of edges cannot change"
    ),
    "simplicial/scn2": _MESHES,
    "simplicial/scone": (
        "its trajectories are paths along the edges of one triangulation of the plane, and no "
        "graph is lifted"
    ),
}


def _files() -> dict[str, str]:
    return {f"tutorials/{t.path}_difflift_train.ipynb": t.notebook() for t in TUTORIALS}


TOPOMODELX_TUTORIALS = Kit(
    project="TopoModelX",
    repository="pyt-team/TopoModelX",
    folders=("tutorials/cell", "tutorials/hypergraph", "tutorials/simplicial"),
    files=_files,
    checks=(
        "pre-commit run --files {files}",
        "pip install topox-difflift",
        "python -m pytest test/tutorials",
    ),
)
