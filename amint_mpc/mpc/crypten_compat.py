"""CrypTen 0.4.1 on today's torch. Everything else in this package gets CrypTen from here:

    from amint_mpc.mpc.crypten_compat import crypten

Four things are repaired, once a process:

- The import. CrypTen's ONNX converter imports `torch.onnx._internal.registration`, which recent torch no longer
  has. We never convert ONNX; an empty module of that name, there for the length of the import, is enough.
- `FixedPointEncoder.decode`, which returns values that are too small by exactly 1.0 for about one negative value
  in two thousand above -60: it divides a negative number by (scale - 1) instead of scale.
- Whether autograd records, a flag of the class `CrypTensor` and so of the whole process: two parties in two threads
  would switch it off under each other. It becomes a flag of the thread.
- Its debugging wrapper around every attribute of a tensor, which looks a setting up each time (a third of the time
  of our step) and in its validation mode opens every value. It is taken off; and the attributes that are not functions
  are found without searching through all that autograd knows.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_REGISTRATION = "torch.onnx._internal.registration"


def import_crypten() -> types.ModuleType:
    """Import and repair CrypTen; later calls give the same module."""
    missing = _REGISTRATION not in sys.modules and importlib.util.find_spec(_REGISTRATION) is None
    if missing:
        stub = types.ModuleType(_REGISTRATION)
        stub.registry = None  # type: ignore[attr-defined]
        sys.modules[_REGISTRATION] = stub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own deprecated calls, none of ours
            module = importlib.import_module("crypten")
    finally:
        if missing:
            del sys.modules[_REGISTRATION]
    encoder = importlib.import_module("crypten.encoder").FixedPointEncoder
    encoder.decode = decode
    found = module.CrypTensor.__getattribute__
    module.CrypTensor.__getattribute__ = _direct(getattr(found, "__wrapped__", found))
    type(module.CrypTensor).AUTOGRAD_ENABLED = property(_autograd_enabled, _set_autograd_enabled)
    return module


_ATTRIBUTES = {"share", "_tensor", "encoder", "ptype", "requires_grad", "grad", "grad_fn", "grad_expected"}
_ATTRIBUTES |= {"grad_received", "children", "ctx", "backward", "_identify_required_grads"}
_ATTRIBUTES |= {"_get_autograd_forward_function"}


def _direct(search: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """`search`, which finds an attribute of a CrypTensor, but not for those that stand in the object itself."""
    return lambda tensor, name: object.__getattribute__(tensor, name) if name in _ATTRIBUTES else search(tensor, name)


_autograd = threading.local()


def _autograd_enabled(_: object) -> bool:
    return getattr(_autograd, "enabled", True)


def _set_autograd_enabled(_: object, enabled: bool) -> None:
    _autograd.enabled = enabled


def decode(encoder: Any, tensor: Tensor | None) -> Tensor | None:
    """Replaces `FixedPointEncoder.decode`: the float32 nearest to tensor / scale.

    Args:
        encoder: a FixedPointEncoder.
        tensor: int64 of any shape. None (what the party that learns nothing gets from a reveal) stays None.

    Returns:
        float32 of the same shape; for a scale of one the integers themselves, as CrypTen has it.
    """
    if tensor is None:
        return None
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"only integers can be decoded, not {tensor.dtype}")
    if encoder.scale == 1:
        return tensor.detach()
    return (tensor.double() / float(encoder.scale)).to(torch.float32)


crypten = import_crypten()
