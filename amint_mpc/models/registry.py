"""Backbones by name: those of this package, of the running program, and of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from amint_mpc.config import Model
from amint_mpc.errors import UsageError
from amint_mpc.models.backbone import Backbone, BackboneSpec, Size

ENTRY_POINTS = "amint_mpc.backbones"
"""The group of entry points by which an installed package offers backbones: name = "package.module"."""


@dataclass(frozen=True)
class Registered:
    """A backbone that can be asked for by name.

    Args:
        make: the class; takes a `BackboneSpec`.
        widths: the sizes that it comes in, each with its usual width.
    """

    make: type[Backbone]
    widths: Mapping[Size, int]


BACKBONES: dict[str, Registered] = {}
"""Every backbone that is loaded."""

_Kind = TypeVar("_Kind", bound=type[Backbone])


def register_backbone(name: str, *, width: int, small: int | None = None) -> Callable[[_Kind], _Kind]:
    """Class decorator: an experiment can say `model.backbone: name` from now on.

    The class is called with a `BackboneSpec`. Every party needs it, for it says how many features the head has; a
    package offers its own by an entry point of the group `ENTRY_POINTS`, so that its module is imported when it is
    named.

    Args:
        width: where `model.width` is left out.
        small: the same for `model.size: small`; None: there is no small version.

    Raises:
        ValueError: another class has this name.
    """

    def register(kind: _Kind) -> _Kind:
        if name in BACKBONES:
            raise ValueError(f"there is a backbone {name!r} already")
        BACKBONES[name] = Registered(kind, {"full": width} if small is None else {"full": width, "small": small})
        return kind

    return register


def check_backbone(model: Model, shape: tuple[int, ...]) -> None:
    """Whether this backbone can be built for images of `shape` (C, H, W); builds nothing.

    Raises:
        UsageError: no such backbone, tap or size, or images that it does not take; the hint says what there is.
    """
    _checked(model, shape, classes=2)


def build_backbone(model: Model, shape: tuple[int, ...], classes: int) -> Backbone:
    """The backbone, with fresh weights drawn from torch's generator.

    Raises:
        UsageError: as `check_backbone`.
    """
    found, spec = _checked(model, shape, classes)
    return found.make(spec)


def _checked(model: Model, shape: tuple[int, ...], classes: int) -> tuple[Registered, BackboneSpec]:
    name, found = model.backbone, _find(model.backbone)
    taps = found.make.tap_names()
    if model.taps not in taps:
        raise UsageError(f"the backbone {name!r} has no taps {model.taps!r}", f"Its taps: {', '.join(taps)}.")
    if model.size not in found.widths:
        raise UsageError(f"the backbone {name!r} has no size {model.size!r}", f"Its sizes: {', '.join(found.widths)}.")
    spec = BackboneSpec(shape, classes, model.taps, model.width or found.widths[model.size], model.size)
    try:
        found.make.check(spec)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None
    return found, spec


def _find(name: str) -> Registered:
    if name not in BACKBONES:
        offered = entry_points(group=ENTRY_POINTS)
        if name not in offered.names:
            known = ", ".join(sorted({*BACKBONES, *offered.names}))
            raise UsageError(
                f"there is no backbone {name[:60]!r} here",
                f"Known backbones: {known}. Every party must have installed the package of another one.",
            )
        _load(offered[name])
    return BACKBONES[name]


def _load(offer: EntryPoint) -> None:
    package = offer.dist.name if offer.dist is not None else offer.value
    try:
        offer.load()
    except Exception as error:  # whatever a stranger's module raises
        raise UsageError(
            f"the backbone {offer.name!r} of the package {package} cannot be loaded: {error}",
            "Update or remove that package.",
        ) from error
    if offer.name not in BACKBONES:
        raise UsageError(
            f"the package {package} offers a backbone {offer.name!r} and then registers none of that name",
            f"Its module {offer.module} needs @register_backbone({offer.name!r}, ...).",
        )
