"""The console script; what it needs beyond the package is imported when it runs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """
    Run the command line.

    Raises
    ------
    SystemExit
        With a message if the extra "train" is not installed, otherwise with the status of the
        command.
    """
    try:
        import lightning  # noqa: F401
        import matplotlib as mpl  # noqa: F401
        import rich  # noqa: F401
        import torchmetrics  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"topox-difflift: {error.name or error} is missing. The command line needs the extra "
            "'train': pip install 'topox-difflift[train]'"
        )
    from topox_difflift.commands import app

    app()
