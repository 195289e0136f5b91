"""Checks the figures that the auditor tells the developer."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from amint_mpc.errors import ProtocolError
from amint_mpc.results import Figure, MembershipName, Share


class _WithInterval(Figure):
    model_config = ConfigDict(extra="forbid")
    low: Share
    high: Share


_FIGURES = TypeAdapter(dict[MembershipName, _WithInterval])
_VALUES = TypeAdapter(dict[MembershipName, Share], config=ConfigDict(strict=True, allow_inf_nan=False))
_Told = TypeVar("_Told")


def check_figures(told: object) -> dict[str, Figure]:
    """Figures that the auditor sent: names of `MEMBERSHIP`, each a share with its interval. Nothing else is taken from
    it, least of all a figure of the developer's own.

    Raises:
        ProtocolError: anything else.
    """
    return {name: Figure.model_validate(dict(figure)) for name, figure in _checked(_FIGURES, told).items()}


def check_values(told: object) -> dict[str, float]:
    """Figures of an epoch that the auditor sent: names of `MEMBERSHIP`, each a share without an interval.

    Raises:
        ProtocolError: anything else.
    """
    values = _checked(_VALUES, told)
    return dict(values.items())


def _checked(form: TypeAdapter[_Told], told: object) -> _Told:
    try:
        return form.validate_python(told)
    except ValidationError:
        raise ProtocolError(
            "the auditor's figures are not what was agreed", "Use the same version on both sides"
        ) from None
