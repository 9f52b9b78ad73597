"""
A device that is not there: tensors that the host cannot look into without waiting for them.

The host computes what runs on it, but every operation passes `Far`, which sees what an accelerator
would have to be waited for: numbers that are read, sizes that depend on values, and tensors that
come from the host or go to it. It is called "meta", a device that needs no driver.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch_geometric.data import Data

DEVICE = "meta"
#: Operations whose result is for the host, or of a size that only the device knows, and how often
#: the host waits in each: multinomial looks at two figures before it draws.
WAITING = {
    "_local_scalar_dense": 1, "_unique2": 1, "bincount": 1, "equal": 1, "masked_select": 1,
    "multinomial": 2, "nonzero": 1, "unique_consecutive": 1, "unique_dim": 1,
}  # fmt: skip
#: Stages of a lift by the function that begins each; the innermost counts.
STAGES = {
    "check_graph": "check",
    "_embed": "embed",
    "_nearest": "search",
    "propose": "propose",
    "own": "propose",
    "_add_rank": "accept",
    "beside": "attach",
    "attach": "attach",
    "from_ranks": "assemble",
}


class FarTensor(torch.Tensor):
    """A tensor on the device; `here` is what it holds."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Self:
        far = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=DEVICE
        )
        far.here = here
        return far

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on the device, without its mode")


class Far(TorchDispatchMode):
    """
    Run what is asked of the device, and count how often the host waits.

    Attributes
    ----------
    stages, places : Counter of str
        Number of waits by the stage of a lift, and by line of the package.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages: Counter[str] = Counter()
        self.places: Counter[str] = Counter()

    def wait(self, what: str, times: int = 1) -> None:
        """Count, under the line and the stage that the host is in."""
        frame, place, stage = sys._getframe(1), None, None
        while frame is not None and stage is None:
            code = frame.f_code
            if place is None and "topox_difflift" in code.co_filename:
                place = f"{code.co_filename.rpartition('topox_difflift')[2]}:{frame.f_lineno}"
            stage = STAGES.get(code.co_name)
            frame = frame.f_back
        self.stages[stage or "other"] += times
        self.places[f"{place} {what}"] += times

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        given = [isinstance(t, FarTensor) for t in tree_leaves((args, kwargs))
                 if isinstance(t, torch.Tensor)]  # fmt: skip
        device = kwargs.get("device")
        goes_far = any(given) if device is None else torch.device(device).type == DEVICE
        if goes_far and device is not None:
            kwargs["device"] = torch.device("cpu")
        if any(given) or goes_far:
            self._count(name, args, kwargs, moved=(any(given) and not goes_far) or
                        (name in ("_to_copy", "copy_", "index") and not all(given)))  # fmt: skip
        inner = tree_map_only(FarTensor, lambda far: far.here, (args, kwargs))
        found = func(*inner[0], **inner[1])
        if not goes_far:
            return found
        if func._schema.is_mutable and isinstance(args[0], FarTensor):
            return args[0]
        return tree_map_only(torch.Tensor, FarTensor, found)

    def _count(self, name: str, args: Any, kwargs: dict[str, Any], moved: bool) -> None:
        if moved:
            self.wait("copy")
        elif name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.wait(name)
        elif name in ("index", "index_put", "index_put_"):
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            # One number goes where the mask is, wherever that may be.
            if masks and not (name != "index" and args[2].numel() == 1):
                self.wait(name)
        elif name in WAITING:
            self.wait(name, WAITING[name])


class _Lists(TorchFunctionMode):
    """Copy lists of the host to the device, which PyTorch does where no mode sees it."""

    def __init__(self, far: Far) -> None:
        self.far = far

    def _copied(self, values: torch.Tensor) -> FarTensor:
        self.far.wait("list")
        return FarTensor(values)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            return self._copied(torch.tensor(args[0], dtype=kwargs.get("dtype")))
        if args and isinstance(args[0], FarTensor):
            if func is torch.Tensor.new_tensor:
                return self._copied(torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)))
            if func is torch.Tensor.__getitem__:
                index = args[1] if isinstance(args[1], tuple) else (args[1],)
                index = (self._copied(torch.tensor(i)) if isinstance(i, list) else i for i in index)
                args = args[0], tuple(index)
        return func(*args, **kwargs)


@contextmanager
def counted() -> Iterator[Far]:
    """Count how often the host waits for the device."""
    with (
        # It knows accelerators by their names.
        mock.patch.object(torch, "autocast", return_value=nullcontext()),
        mock.patch.object(torch, "is_autocast_enabled", return_value=False),
        Far() as far,
        _Lists(far),
    ):
        yield far


def send(data: Data) -> Data:
    """Put the tensors of a graph on the device."""
    sent = data.clone()
    for name, value in data.to_dict().items():
        if isinstance(value, torch.Tensor):
            sent[name] = FarTensor(value)
    return sent


def move(module: torch.nn.Module) -> torch.nn.Module:
    """Put the parameters of a module on the device."""
    with Far():
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = torch.nn.Parameter(FarTensor(parameter.detach()))
    return module
