"""TopoModelX's tutorials train through a learned lifting, as the page that lists them says."""

from __future__ import annotations

import math

import pytest
import torch
import tutorial_table

from topox_difflift.upstream.tutorials import LEFT, TUTORIALS

PAGE = tutorial_table.PAGE.read_text()
QUICK = [t for t in TUTORIALS if t.data == "Karate Club" and t.network in ("HSN", "SCCNN", "SAN")]
#: Columns that hold no measured number.
SETTLED = [
    tutorial_table.HEADER.index(name)
    for name in ("tutorial", "network", "data", "lifting", "epochs", "gradient to the acceptances",
                 "trained", "remark")
]  # fmt: skip


def rows() -> dict[str, list[str]]:
    """Cells of the table, by tutorial."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells] for cells in lines}


def test_the_page_has_a_row_for_every_tutorial():
    found = rows()
    for path in [*(tutorial.path for tutorial in TUTORIALS), *LEFT]:
        assert f"{path}_train" in found
    for path, why in LEFT.items():
        assert found[f"{path}_train"][1] == why
    assert (
        f"TopoModelX has {len(TUTORIALS) + len(LEFT)} tutorials. {len(TUTORIALS)} of them" in PAGE
    )


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.path)
def test_the_page_says_what_is_run(tutorial):
    cells = rows()[f"{tutorial.path}_train"]
    assert cells[1:5] == [
        tutorial.network, tutorial.data, f"`{tutorial.static}` → `{tutorial.lift}`",
        str(tutorial.epochs),
    ]  # fmt: skip
    # Each of them trained, and a gradient reached the lifting.
    before, after = map(float, cells[6].split(" → "))
    assert after < before
    assert cells[8].startswith("rank")
    assert cells[10] == "yes"


@pytest.mark.parametrize("tutorial", QUICK, ids=lambda tutorial: tutorial.path)
def test_a_tutorial_trains_through_the_learned_lifting(tutorial):
    measured = tutorial_table.row(tutorial)
    listed = rows()[f"{tutorial.path}_train"]
    for column in SETTLED:
        assert measured[column] == (listed[column] if column < len(listed) else "")
    learned = tutorial_table.run(tutorial, static=False)
    assert math.isfinite(learned.after)
    assert learned.trained
    assert learned.names["reached"]


def test_the_code_of_a_tutorial_depends_on_its_lifting():
    """The same seed gives the same run; the other lifting another one."""
    (tutorial,) = [t for t in QUICK if t.network == "HSN"]
    first, again = (tutorial_table.run(tutorial, static=False) for _ in range(2))
    static = tutorial_table.run(tutorial, static=True)
    assert (first.before, first.after) == (again.before, again.after)
    assert first.after != static.after
    assert not any(isinstance(p, torch.nn.Parameter) for p in static.names["lift"].parameters())
