"""The quickstart of the README runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_there_is_a_quickstart_of_about_ten_lines() -> None:
    quickstart = README.split("## Quickstart", 1)[1]
    code = re.search(r"```python\n(.*?)```", quickstart, re.DOTALL)
    assert code
    lines = [
        line for line in code[1].splitlines() if line and not line.startswith(("from", "import"))
    ]
    assert len(lines) <= 10


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_python_in_the_readme_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        names: dict = {}
        exec(compile(code, "README.md", "exec"), names)
    assert "rank 2" in capsys.readouterr().out
    # Every parameter that the forward pass used has a gradient.
    assert any(parameter.grad is not None for parameter in names["lift"].parameters())


@pytest.mark.parametrize("name", ["main-job", "tests"])
def test_each_of_the_two_commands_installs_and_runs(name: str) -> None:
    command = re.search(rf"<!-- {name} -->\n```bash\n(.*?)\n```", README, re.DOTALL)
    assert command
    lines = command[1].splitlines()
    assert lines[0].startswith("pip install")
    assert lines[0].endswith("&& \\")
    assert len(lines) == 2
