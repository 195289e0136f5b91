"""Any model with named modules whose outputs the head sees.

A forward hook on each named module keeps what it gives. The hook of the one that comes last in a forward pass computes
the features and puts the map that it saw back with the head's step hung on to it (`mint_loss`); nothing else of the
model is touched. A module may give a tensor, or a tuple or list whose first element is one.

Edge cases
    `torch.compile`: the graph breaks at each hook, which runs as it is. Tap before the first call.
    Gradient checkpointing: with `use_reentrant=False` backward runs parts of the forward pass again; the hooks then
    compute the same features without another step and without counting the batch twice in the running statistics. With
    `use_reentrant=True` the forward pass has no graph, which is told as an error.
    Automatic mixed precision: features are float32.
    Nobody may change a tapped map in place (`nn.ReLU(inplace=True)` right behind it): torch says so then. Tap the ReLU.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from amint_mpc.amint.mint_loss import within_backward
from amint_mpc.config import Experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.models.classifier import feature_count
from amint_mpc.models.features import Features, flatten

WRAPPERS = ("_orig_mod", "module")
"""Under which names `torch.compile` and `DistributedDataParallel` hold the model itself."""
Attach = Callable[[Tensor, Tensor], Tensor]
"""Is given the last tapped map and the features [n, F]; returns the map to go on with."""


class Judged(Protocol):
    """A model and its features, as the audit meets them. `Taps` is one."""

    @property
    def model(self) -> nn.Module:
        """Without its features."""

    @property
    def features(self) -> Features:
        """Of the maps that the head sees."""

    def evaluate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, classes] and features [n, F], in eval mode and without a graph. Args: images: as trained on."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without `torch.compile` and `DistributedDataParallel` around it."""
    while (inner := next((getattr(model, name) for name in WRAPPERS if name in model._modules), None)) is not None:
        model = inner
    return model


def modules_named(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The modules of these names.

    Raises:
        UsageError: there is none of that name; the hint has the nearest ones.
    """
    known = {name: module for name, module in unwrapped(model).named_modules() if name}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:5]
            raise UsageError(f"the model has no module {name!r}", f"The nearest names are {', '.join(near)}")
    if len(set(names)) != len(names):
        raise UsageError("a module is tapped twice", "Name each module once")
    return [known[name] for name in names]


def agreed_features(experiment: Experiment) -> Features:
    """Of a model that the program does not know, as many as the experiment says; or as its backbone has."""
    head = experiment.head
    return Features(head.input, head.features or feature_count(experiment, dataset(experiment.data).shape))


def check_maps(maps: Mapping[str, object], rows: int) -> None:
    """Of a batch. Args: maps: by name. rows: how many images the batch has.

    Raises:
        UsageError: one is no tensor of floating-point numbers, or has other rows.
    """
    for name, tapped in maps.items():
        if not isinstance(tapped, Tensor):
            raise UsageError(
                f"{name} is a {type(tapped).__module__}.{type(tapped).__name__}, not a tensor",
                "Give torch tensors with their graph: the gradient of the head goes back through them",
            )
        if not tapped.is_floating_point():
            raise UsageError(f"{name} has {tapped.dtype} numbers, which have no gradient", "Give floating-point maps")
        if tapped.dim() < 2 or len(tapped) != rows:
            raise UsageError(
                f"{name} is {list(tapped.shape)}, the batch has {rows} images",
                "Pass batch.images through the model whole and in order: members first, then as many external images",
            )


def features_of(features: Features, maps: Mapping[str, Tensor]) -> Tensor:
    """The features of maps, [n, F].

    Raises:
        UsageError: they have another width than the experiment says.
    """
    with torch.no_grad():
        width = flatten(features.kind, [tapped[:1] for tapped in maps.values()]).shape[1]
    if width != features.count:
        raise UsageError(
            f"the tapped maps give {width} features, the experiment has {features.count}",
            f"Set head.features to {width}, at every party, or tap other modules",
        )
    found: Tensor = features(list(maps.values()))
    return found


class Taps:
    """The tapped model; see the module.

    Args:
        model: any. names: of its modules, as in `model.named_modules()`; none: the model itself gives logits and maps.
        features: of the maps.
        attach: is called once in the forward pass of a training step. forward: images -> logits; None: the model, whose
            output is the logits, or has them as `logits`, or as its first element.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        features: Features,
        attach: Attach,
        forward: Callable[[Tensor], Any] | None = None,
    ) -> None:
        modules = modules_named(model, names)
        self.model, self.features, self.names = unwrapped(model), features, tuple(names)
        self._whole, self._attach, self._forward = model, attach, forward or model
        self._maps: dict[str, Tensor] = {}
        self._rows: slice | None = None  # of the training step that is awaited
        self._count = 0
        self._evaluating = False
        self._hooks = [
            module.register_forward_hook(torch.compiler.disable(partial(self._hook, name)))  # type: ignore[no-untyped-call]
            for name, module in zip(self.names, modules, strict=True)
        ]

    def expect(self, count: int, rows: slice) -> None:
        """The next forward pass is a training step's.

        Args:
            count: of its images. rows: of them the head sees these.
        """
        self._maps, self._count, self._rows = {}, count, rows

    def rest(self) -> None:
        """Look at nothing until the next `expect`."""
        self._maps, self._rows = {}, None

    def missing(self) -> list[str]:
        """The modules that the step's forward pass has not come by."""
        return [name for name in self.names if name not in self._maps]

    def evaluate(self, images: Tensor, compiled: bool = True) -> tuple[Tensor, Tensor]:
        """See `Judged.evaluate`. Args: compiled: as the loop's model is; else by its own modules, for a trial."""
        forward = self.model if self._forward is self._whole and not compiled else self._forward
        self._maps, self._evaluating = {}, True
        try:
            found = forward(images)
        finally:
            self._evaluating = False
        if not self.names:
            found, maps = found
            self._maps = named_maps(maps)
        elif self.missing():
            raise UsageError(f"the forward pass does not come by {self.missing()[0]}", "Tap modules that it uses")
        maps, self._maps = {name: self._maps[name] for name in self.names or self._maps}, {}
        check_maps(maps, len(images))
        return logits_of(found), features_of(self.features, maps)

    def remove(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
        tapped = output[0] if isinstance(output, tuple | list) else output
        if self._evaluating:
            self._maps[name] = tapped
            return None
        if self._rows is None:
            return None
        if within_backward():
            self._again(name, tapped)
            return None
        if not (self.model.training and torch.is_grad_enabled()):
            return None
        if not self.missing():
            raise UsageError(
                f"the tapped module {name} was run twice in one step",
                "Pass each batch through the model once; put the model in eval mode for anything else",
            )
        self._maps[name] = tapped
        if self.missing():
            return None
        check_maps(self._maps, self._count)
        whole = self._attach(tapped, features_of(self.features, dict(zip(self.names, self._seen(), strict=True))))
        if isinstance(output, tuple):
            return (whole, *output[1:])
        return [whole, *output[1:]] if isinstance(output, list) else whole

    def _again(self, name: str, tapped: Tensor) -> None:
        """A checkpoint does the forward pass again: the same operations, on running statistics that are thrown away."""
        last = next(reversed(self._maps))
        self._maps[name] = tapped
        if name == last:
            copies = {key: value.clone() for key, value in self.features.state_dict().items()}
            functional_call(self.features, copies, (self._seen(),))

    def _seen(self) -> list[Tensor]:
        """What the head sees of the maps, in the order of the names."""
        assert self._rows is not None
        return [rows_of(self._maps[name], self._rows) for name in self.names]


def own_features(features: Features, maps: object, count: int, rows: slice) -> Tensor:
    """The features of maps that a loop gives by itself.

    Args:
        count: images of the batch. rows: of them the head sees these.

    Raises:
        UsageError: as `check_maps` and `features_of`.
    """
    named = named_maps(maps)
    check_maps(named, count)
    return features_of(features, {name: rows_of(tapped, rows) for name, tapped in named.items()})


def rows_of(tapped: Tensor, rows: slice) -> Tensor:
    """Some rows of a map. All of them are the map itself: a node more would change the order of backward's sums."""
    return tapped if rows == slice(0, len(tapped)) else tapped[rows]


def named_maps(maps: object) -> dict[str, Tensor]:
    """Maps that a loop gives by itself, with names for messages."""
    several = maps if isinstance(maps, tuple | list) else [maps]
    return {f"map {number}": tapped for number, tapped in enumerate(several, start=1)}


def logits_of(output: Any) -> Tensor:
    """The class logits of what a model gives: the output, its `logits`, or its first element."""
    found = getattr(output, "logits", output)
    found = found[0] if isinstance(found, tuple | list) else found
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise UsageError(
            "the model gives no class logits [n, classes] in eval mode",
            "Give audit.tap a `forward` that takes images and returns the logits",
        )
    return found
