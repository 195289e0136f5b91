"""Fills the templates and writes one HTML file: whole or not at all, and never over another without leave.

Guarantees: everything from a folder is escaped, and without invisible characters; the page loads nothing (a content
security policy says so to the browser, too); the same folders give the same page.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from amint_mpc import __version__
from amint_mpc.errors import UsageError
from amint_mpc.pages import formatting
from amint_mpc.pages.contents import run_contents, study_contents
from amint_mpc.pages.perspective import gather
from amint_mpc.pages.study import is_study, read_study
from amint_mpc.printable import printable

FILTERS = (
    *(
        formatting.percent,
        formatting.interval,
        formatting.share,
        formatting.points,
        formatting.of_hundred,
        formatting.number,
    ),
    *(formatting.duration, formatting.size, formatting.pictures, formatting.counted),
)


def make(path: Path, comparison: Path | None = None, beside: Sequence[Path] = ()) -> str:
    """The page about a run's or a study's folder, as HTML.

    Raises:
        UsageError: no such folder, an unfinished run, or options that do not fit it.
        DataError: a file is damaged, or of a newer version.
    """
    if is_study(path):
        if comparison is not None or beside:
            raise UsageError("--comparison and --beside are for a run, and this is a study", "Leave them out")
        return _filled("study.html", study_contents(read_study(path), path))
    return _filled("run.html", run_contents(gather(path, comparison, beside)))


def check_place(out: Path, force: bool) -> None:
    """Refuse a place where no page can go.

    Raises:
        UsageError: there is a file already and no `force`; a folder of that name, or no folder to write into.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UsageError(f"{out} is not a place for a page", "Name a file in a folder that exists")
    if os.path.lexists(out) and not force:
        raise UsageError(f"{out} exists already", "Give another --out, or --force to replace it")


def write(page: str, out: Path, force: bool) -> None:
    """Write the page, readable by its owner alone, as run folders are. Raises as `check_place`."""
    check_place(out, force)
    with tempfile.NamedTemporaryFile(
        dir=out.absolute().parent, prefix=f"{out.name}.", suffix=".part", delete=False
    ) as file:
        part = Path(file.name)  # a name that nobody could plant a link at
        try:
            file.write(page.encode())
            file.flush()
            os.fsync(file.fileno())
            part.replace(out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _filled(template: str, contents: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("amint_mpc.pages"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals["at"] = _at
    assert environment.loader is not None
    style = environment.loader.get_source(environment, "style.css")[0]
    page = environment.get_template(template)
    return page.render(contents, style=Markup(style), version=__version__)  # noqa: S704 - a file of ours


def _shown(value: Any) -> Any:
    """What an expression of a template puts on the page; markup is only what we made."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _at(value: float, low: float, high: float) -> str:
    """Where a value stands on a line of 100 units from `low` to `high`."""
    return f"{100 * min(1.0, max(0.0, (value - low) / (high - low))):.2f}"
