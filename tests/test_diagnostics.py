"""What training says of a lifting, and when it stops."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch_geometric.data import Batch

pytest.importorskip("lightning", reason='needs the extra "train"')

from topox_difflift import datasets
from topox_difflift.config import TrainingConfig
from topox_difflift.diagnostics import CollapsedLifting, GradientNorms, resample
from topox_difflift.job import Job, Splits
from topox_difflift.liftings import CycleLifting
from topox_difflift.training import _Checkpoints

if TYPE_CHECKING:
    from pathlib import Path

    from topox_difflift.training import TrainingModule

# Lightning's own call of a torch function that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


def job(out: Path, **options: Any) -> Job:
    config = TrainingConfig("molecules", hidden_channels=8, batch_size=16, **options)
    graphs = datasets.molecules(24)
    out.mkdir(exist_ok=True)
    return Job(config, Splits(graphs[:16], graphs[16:20], graphs[20:], config.task), out)


def shift(module: TrainingModule, rank: str, by: float) -> None:
    """Move the acceptance logits of a rank out of reach."""
    last = [p for n, p in module.model.lift.lift.scorers[rank].named_parameters() if "bias" in n]
    last[-1].data += by


@pytest.mark.parametrize(("by", "what"), [(1e4, "everything"), (-1e4, "nothing")])
@pytest.mark.parametrize("rank", ["1", "2"])
def test_collapse_is_said_once(tmp_path: Path, rank: str, by: float, what: str) -> None:
    with pytest.warns(CollapsedLifting, match=f"accepted {what} at rank {rank} for 5") as said:
        job(tmp_path, max_epochs=7).train(prepare=lambda module: shift(module, rank, by))
    texts = [str(one.message) for one in said if one.category is CollapsedLifting]
    assert len([text for text in texts if text.startswith("The lifting has collapsed")]) == 1


@pytest.mark.parametrize(("by", "what"), [(3.0, r"everything at rank 1 \((\d+) of \1\)"),
                                          (-4.0, r"nothing at rank 1 \(0 of \d+\)")])  # fmt: skip
def test_a_collapse_of_what_is_tested_is_said(tmp_path: Path, by: float, what: str) -> None:
    """Draws still choose, as the first epoch shows, but what is more likely than not does not."""
    with pytest.warns(CollapsedLifting, match=f"On the test set .* accepted {what}") as said:
        result, _ = job(tmp_path, max_epochs=1, lr=1e-9).train(
            prepare=lambda module: shift(module, "1", by)
        )
    drawn = result.summaries[0].ranks[0]
    assert 0 < drawn.accepted < drawn.candidates
    found = {rank.rank for rank in result.ranks if rank.collapsed}
    assert len([one for one in said if one.category is CollapsedLifting]) == len(found)


def test_a_collapse_is_said_at_the_end_however_short_it_was(tmp_path: Path) -> None:
    early = job(tmp_path / "early", max_epochs=4)
    with pytest.warns(CollapsedLifting, match="accepted everything at rank 1 in epoch 3") as said:
        early.train(prepare=lambda module: shift(module, "1", 1e4))
    texts = [str(one.message) for one in said if one.category is CollapsedLifting]
    assert len([text for text in texts if text.startswith("The lifting has collapsed")]) == 1


def test_nothing_is_said_of_what_is_not_learned(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedLifting)
        for options in ({"lifting": "accept_all"}, {"lifting": "random", "rate": 0.0}):
            name = str(options["lifting"])
            job(tmp_path / name, max_epochs=6, **options).train()


def test_gradient_norms_share_out_that_of_the_whole_model(tmp_path: Path) -> None:
    norms = GradientNorms()
    whole: list[float] = []

    class Whole(GradientNorms):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            whole.append(float(torch.cat([g.flatten() for g in grads]).norm()))
            super().on_before_optimizer_step(trainer, module, optimizer)

    job(tmp_path, max_epochs=1).train(callbacks=[norms, Whole()])
    (epoch,) = norms.epochs
    assert set(epoch) == {"encoder", "memberships", "sizes", "acceptance", "network"}
    assert all(norm > 0 for norm in epoch.values())
    # One step in the epoch, so that its mean is that of the step.
    assert sum(norm**2 for norm in epoch.values()) == pytest.approx(whole[0] ** 2, rel=1e-4)


def test_resampling_counts_candidates_and_leaves_the_model_as_it_is() -> None:
    graphs = datasets.molecules(6)
    model = TrainingConfig("molecules", hidden_channels=8).build(7, 4, 2).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = resample(model, graphs, batch_size=4, draws=3)
    assert found["prediction_variance"] > 0
    assert resample(model, graphs, batch_size=4, draws=3) == found
    assert resample(model, graphs, batch_size=4, draws=3, seed=1) != found
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.lift.lift.rejected == "keep"
    # Of fixed size, there are as many candidate pairs in every draw.
    model = TrainingConfig("molecules", hidden_channels=8, options={"k_min": 3, "k_max": 3}).build(
        7, 4, 2
    )
    counts = resample(model, graphs, batch_size=6, draws=3)["probabilities"]["1"]
    candidates = model.lifted(Batch.from_data_list(graphs)).summary().ranks[0].candidates
    assert sum(counts) == 3 * candidates


@pytest.mark.parametrize("lifting", ["accept_all", "cycle"])
def test_prediction_without_a_draw_has_no_variance(lifting: str) -> None:
    sizes = {"k_min": 3, "k_max": 3} if lifting == "accept_all" else {}
    model = TrainingConfig("molecules", lifting=lifting, hidden_channels=8, options=sizes).build(
        7, 4, 2
    )
    found = resample(model, datasets.molecules(4), batch_size=4)
    expected = None if lifting == "cycle" else pytest.approx(0, abs=1e-12)
    assert found["prediction_variance"] == expected


def test_patience_ends_a_run_and_a_resumed_one_stays_ended(tmp_path: Path) -> None:
    options = {"lifting": "none", "tnn": "gnn", "lr": 1e-9, "patience": 3}
    whole = job(tmp_path / "whole", max_epochs=20, **options)
    untrained = "No epoch validated better than the first, and training ended 3 epochs later"
    with pytest.warns(UserWarning, match=rf"{untrained}.*'patience' \(3\).*a longer one"):
        result = whole.train()[0]
    assert (result.best_epoch, len(result.history)) == (0, 4)
    with pytest.warns(UserWarning, match=untrained):
        again = whole.train()[0]
    assert again.history == result.history
    # What was waited before an interruption counts.
    job(tmp_path / "parts", max_epochs=3, **options).train()
    with pytest.warns(UserWarning, match=untrained):
        resumed = job(tmp_path / "parts", max_epochs=20, **options).train()[0]
    assert len(resumed.history) == 4


def test_a_run_that_cannot_be_better_than_its_first_epoch_has_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = _Checkpoints.on_train_epoch_end

    def perfect(self: _Checkpoints, trainer: Any, module: Any) -> None:
        trainer.callback_metrics["val"] = torch.tensor(1.0)
        module.history[-1]["val"] = 1.0
        saved(self, trainer, module)

    monkeypatch.setattr(_Checkpoints, "on_train_epoch_end", perfect)
    options = {"lifting": "none", "tnn": "gnn", "patience": 2}
    # Warnings are errors here.
    result = job(tmp_path, max_epochs=20, **options).train()[0]
    assert (result.best_epoch, result.val, len(result.history)) == (0, 1.0, 3)


def test_plain_gnn_reads_no_cell_and_learns(tmp_path: Path) -> None:
    batch = Batch.from_data_list(datasets.molecules(6))
    model = TrainingConfig("molecules", tnn="gnn", lifting="none").build(7, 4, 2).eval()
    plain, before = model(batch), model.lift.lift
    model.lift.lift = CycleLifting()
    assert model.lifted(batch).num_cells[2] > 0
    assert torch.equal(model(batch), plain)
    model.lift.lift = before
    torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name
    with pytest.raises(ValueError, match="which reads the nodes alone"):
        TrainingConfig("molecules", tnn="gnn")
