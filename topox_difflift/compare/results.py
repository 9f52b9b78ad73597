"""The file of a comparison: one line of JSON for each run, none of them ever changed."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["Results", "locked", "read_folder", "read_results"]

Record = dict[str, Any]


class Results:
    """
    The file while it is written to, by one process at a time.

    A line is written at once and is on the disk before `append` returns. What a process that was
    killed had written of a last line is taken away when the file is opened.

    Parameters
    ----------
    path : pathlib.Path
        The file; made if it is not there.

    Attributes
    ----------
    records : dict of str to dict
        The last line of each run, by its identity.

    Raises
    ------
    BlockingIOError
        If another process writes to it.
    ValueError
        If a line is not a record.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, path, wait=False)
            _repair(self._file)
            self.records = {record["id"]: record for record in read_results(path)}
        except BaseException:
            self.close()
            raise

    def append(self, record: Record) -> None:
        """
        Add the line of a run.

        Parameters
        ----------
        record : dict
            What JSON can hold, with an "id".
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"Wrote {written} of {len(line)} bytes; is the disk full?")
        os.fsync(self._file)
        self.records[record["id"]] = record

    def close(self) -> None:
        """Let others write."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_results(path: Path) -> list[Record]:
    """
    Read a file of results, also while it is written to.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    list of dict
        The lines; a last one that is not complete is no line.

    Raises
    ------
    ValueError
        If a line is not a record.
    """
    *lines, _ = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if record is None:
            raise ValueError(
                f"Expected {path.name} to hold one record of a run in each line (got {line[:60]!r} "
                f"in line {number}); take the line out, and the run will be repeated"
            )
        records.append(record)
    return records


def read_folder(folder: Path) -> dict[str, list[Record]]:
    """
    Read all files of results of a folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder.

    Returns
    -------
    dict of str to list of dict
        The lines of each file ``*.jsonl``, by its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is not a record.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(
            f"Expected 'folder' to hold results, files *.jsonl (got {str(folder)!r}, which holds "
            "none); run topox-difflift compare with --out there"
        )
    return {path.name: read_results(path) for path in files}


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "id" in record else None


def _repair(file: int) -> None:
    """End a last line that is complete, and take away one that is not."""
    content = b"".join(iter(lambda: os.read(file, 1 << 20), b""))
    _kept, _, tail = content.rpartition(b"\n")
    if not tail:
        return
    if _parsed(tail) is not None:
        os.write(file, b"\n")
    else:
        os.ftruncate(file, len(content) - len(tail))
    os.fsync(file)


def _lock(file: int, path: Path, wait: bool) -> None:
    """Lock until the file is closed or the process ends, however it ends."""
    try:
        import fcntl
    except ImportError as error:
        raise OSError(
            "Comparisons lock their files as Linux and macOS do; on Windows, run them in WSL"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"Expected no other process to write to {path} (got one that does); wait for it, or "
            "take another file"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Wait until no other process is in the same block.

    Parameters
    ----------
    path : pathlib.Path
        A file that stands for the block; made if it is not there.

    Yields
    ------
    None
        While the lock is held.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(file, path, wait=True)
        yield
    finally:
        os.close(file)
