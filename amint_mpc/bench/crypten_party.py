"""One of CrypTen's two parties as a measured process: CrypTen 0.4.1 as it comes, for comparison.

Its own communicator (gloo) and its default provider of randomness: the first party makes every mask and so could read
everything; nothing is encrypted or authenticated. `mpc.crypten_compat` is not used, for it changes more than the
import. The step is that of our head: Linear, ReLU, Linear; gradients with respect to input and weights; SGD; the
gradient with respect to the input is revealed to rank 0, who brings the input. Rank 1 brings the weights. Two ways to
write it:

    stock   as its tutorials do, with BCEWithLogitsLoss and the default arguments
    lean    by hand, from sigmoid(z) - y and without the comparison by which it limits gradients, so that nothing is
            computed that our step does not compute either
"""

from __future__ import annotations

import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from amint_mpc.bench.worker import Handler, work

WAYS = ("stock", "lean")

# CrypTen's ONNX converter imports a module that recent torch no longer has. It is not used here.
_absent = types.ModuleType("torch.onnx._internal.registration")
_absent.registry = None  # type: ignore[attr-defined]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sys.modules[_absent.__name__] = _absent
    import crypten


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Handler]:
    """Args: settings: rank, rendezvous (a file that does not exist yet), threads, features, hidden, batch."""
    torch.set_num_threads(settings["threads"])
    os.environ |= {
        "DISTRIBUTED_BACKEND": "gloo",
        "GLOO_SOCKET_IFNAME": settings["interface"],
        "RENDEZVOUS": f"file://{settings['rendezvous']}",
        "WORLD_SIZE": "2",
        "RANK": str(settings["rank"]),
    }
    crypten.init()
    ways = {
        way: one_step(settings["rank"], settings["features"], settings["hidden"], settings["batch"], way)
        for way in WAYS
    }

    def handle(command: dict[str, Any]) -> dict[str, Any]:
        counting, step = bool(command.get("count")), ways[command["way"]]
        with crypten.cfg.temp_override({"communicator.verbose": counting}):
            crypten.reset_communication_stats()
            for _ in range(command["steps"]):
                step()
            counted = crypten.communicator.get().get_communication_stats()
        return {"rounds": counted["rounds"], "bytes": counted["bytes"]} if counting else {}

    yield handle


def one_step(rank: int, features: int, hidden: int, batch: int, way: str) -> Callable[[], torch.Tensor | None]:
    """The step as rank 0 or 1 runs it; both give tensors of the same shapes, CrypTen takes the owner's."""
    torch.manual_seed(1)
    x = torch.randn(batch, features)
    y = torch.cat([torch.ones(batch // 2), torch.zeros(batch - batch // 2)])[:, None]
    model = crypten.nn.Sequential(crypten.nn.Linear(features, hidden), crypten.nn.ReLU(), crypten.nn.Linear(hidden, 1))
    model.encrypt(src=1)
    model.train()
    rate = 0.05 / (batch // 2)
    loss, targets = crypten.nn.BCEWithLogitsLoss(), crypten.cryptensor(y, src=0)

    def step() -> torch.Tensor | None:
        shared = crypten.cryptensor(x, src=0, requires_grad=True)
        z = model(shared)
        if way == "stock":
            value = loss(z, targets)
            model.zero_grad()
            value.backward()
        else:
            with crypten.no_grad():
                gradient = z.sigmoid() - y
            model.zero_grad()
            z.backward(gradient)
        revealed: torch.Tensor | None = shared.grad.get_plain_text(dst=0)
        if way == "stock":
            model.update_parameters(rate)
        else:
            model.update_parameters(rate, grad_threshold=None)
        return revealed

    return step


if __name__ == "__main__":
    work(opened)
