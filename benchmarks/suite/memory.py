"""Resident memory of this process, and its peaks; on a GPU what PyTorch holds there."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

#: glibc's number for the size from which a block goes back to the system once it is freed.
M_MMAP_THRESHOLD = -3


def resident(what: str) -> float:
    """Return resident memory of this process in MB, now ("VmRSS") or at its peak ("VmHWM")."""
    status = Path("/proc/self/status")
    if status.exists() and (found := [t for t in status.read_text().split("\n") if what in t]):
        return int(found[0].split()[1]) / 1024
    # Elsewhere only the peak is at hand, which the imports may have set.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak() -> None:
    """Let the peak start again from what is resident now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def return_freed() -> None:
    """Give freed blocks back from now on, so that resident memory is memory in use (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**16)
        libc.malloc_trim(0)


def available() -> int:
    """Return how many bytes can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().split("\n"):
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise OSError("Expected /proc/meminfo to have a line MemAvailable")


def bound() -> None:
    """Make an allocation beyond what the machine has an error here, not the end of a process."""
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = mapped + int(0.9 * available())
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
