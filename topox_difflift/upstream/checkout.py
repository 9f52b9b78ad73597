"""Writing generated files into a checkout of another project: in its style, all or none."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Kit", "generate", "write"]


@dataclass(frozen=True)
class Kit:
    """
    What this package gives to another project.

    Attributes
    ----------
    project : str
        Name in its pyproject.toml.
    repository : str
        Where it is, for messages.
    folders : tuple of str
        Folders that a checkout has.
    files : callable
        ``() -> {path: text}``: what to write, not yet in the style of the project.
    checks : tuple of str
        Commands that its maintainers would run, in the checkout; ``{files}`` stands for all
        that was written.
    note : str
        What to do by hand.
    """

    project: str
    repository: str
    folders: tuple[str, ...]
    files: Callable[[], dict[str, str]]
    checks: tuple[str, ...]
    note: str = ""


def generate(kit: Kit, checkout: str | Path) -> dict[Path, str]:
    """
    Generate the files of a kit in the style of a checkout.

    Parameters
    ----------
    kit : Kit
        What to generate.
    checkout : str or pathlib.Path
        Root of the checkout, whose configuration of ruff decides about the style.

    Returns
    -------
    dict of pathlib.Path to str
        Paths and texts; nothing is written.

    Raises
    ------
    ValueError
        If the folder is not such a checkout.
    RuntimeError
        If a file breaks a rule of the project's linter.
    ImportError
        If ruff is not installed.
    """
    root = Path(checkout).resolve()
    _check_checkout(kit, root)
    if find_spec("ruff") is None:
        raise ImportError("ruff is missing; pip install 'topox-difflift[upstream]'")
    return {root / path: _styled(kit, root, path, text) for path, text in kit.files().items()}


def write(kit: Kit, checkout: str | Path, force: bool = False) -> dict[Path, bool]:
    """
    Write the files of a kit into a checkout: all of them, or none.

    Parameters
    ----------
    kit : Kit
        What to write.
    checkout : str or pathlib.Path
        Root of the checkout.
    force : bool, default=False
        Whether to overwrite files that are there with another content.

    Returns
    -------
    dict of pathlib.Path to bool
        The files, and whether each is new or another than before.

    Raises
    ------
    FileExistsError
        If a file is there with another content, unless `force` is set.
    ValueError, RuntimeError, ImportError
        As `generate`.
    """
    files = generate(kit, checkout)
    changed = {path: _content(path) != text.encode() for path, text in files.items()}
    others = [str(path) for path in files if changed[path] and path.exists()]
    if others and not force:
        raise FileExistsError(
            f"Expected none of the files to be there with another content (got "
            f"{', '.join(others)}); --force overwrites them"
        )
    _write_all({path: text for path, text in files.items() if changed[path]})
    return changed


def _check_checkout(kit: Kit, root: Path) -> None:
    file = root / "pyproject.toml"
    try:
        name = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}).get("name")
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(_expected(kit, root, str(error))) from error
    if str(name).lower() != kit.project.lower():
        raise ValueError(_expected(kit, root, f"project {name!r}"))
    if missing := [folder for folder in kit.folders if not (root / folder).is_dir()]:
        raise ValueError(_expected(kit, root, f"no folder {', '.join(missing)}"))


def _expected(kit: Kit, root: Path, found: str) -> str:
    return (
        f"Expected 'checkout' to be one of {kit.project} (got {str(root)!r}: {found}); "
        f"git clone https://github.com/{kit.repository}"
    )


def _styled(kit: Kit, root: Path, path: str, text: str) -> str:
    """Fix what the project's linter can fix, format, and make sure that nothing is left."""
    if not path.endswith((".py", ".ipynb")):
        return text
    # Ruff looks for the module in the checkout, where it may not be yet.
    own = f"lint.isort.known-first-party=['{kit.project.lower()}']"
    for command in (["check", "--fix-only", "--config", own], ["format"]):
        text = _ruff(root, path, text, *command)
    _ruff(root, path, text, "check", "--config", own)
    return text


def _ruff(root: Path, path: str, text: str, *command: str) -> str:
    done = subprocess.run(  # noqa: S603 -- the arguments are ours
        [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", path, "-"],
        cwd=root,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ruff {command[0]} finds in {path}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _write_all(files: Mapping[Path, str]) -> None:
    before = {path: _content(path) for path in files}
    folders: list[Path] = []
    try:
        for path, text in files.items():
            folders += _make_folders(path.parent)
            path.write_bytes(text.encode())
    except BaseException:
        for path, content in before.items():
            if content is not None:
                path.write_bytes(content)
            elif path.exists():
                path.unlink()
        for folder in reversed(folders):
            folder.rmdir()
        raise


def _make_folders(folder: Path) -> Iterator[Path]:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        yield parent
