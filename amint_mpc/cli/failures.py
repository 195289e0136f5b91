"""The one place where an error becomes two lines on stderr and an exit code (the codes: `amint_mpc.errors`)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from amint_mpc.cli.terminal import echo
from amint_mpc.errors import AmintError, Interrupted
from amint_mpc.printable import printable


class ExplainingGroup(click.Group):
    """A group whose commands end in `error: ...` and `hint: ...`. Other exceptions are bugs: they keep a traceback."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """See `click.Group`."""
        with _usage_is_printable():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _usage_is_printable():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            failure: AmintError = Interrupted("interrupted")
        except AmintError as error:
            failure = error
        except BrokenPipeError:
            raise  # the reader of our output left; click ends quietly
        except OSError as error:
            failure = AmintError(f"the system refused: {error}", "Is the disk full, or a folder not yours?")
        explain(failure)
        return ctx.exit(failure.exit_code)


@contextmanager
def _usage_is_printable() -> Iterator[None]:
    """click repeats what was typed, which may be the name of somebody else's file."""
    try:
        yield
    except click.UsageError as error:
        vars(error)["message"] = printable(error.message)  # final, to a type checker
        raise


def end_as_interrupted() -> None:
    """Let SIGTERM do what Ctrl-C does: a stopped container tells its peers, the demo stops its processes."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def explain(error: AmintError) -> None:
    """Print an error: further lines of the message and the hint stand under its first word."""
    echo(error.message.replace("\n", "\n       "), err=True, label=click.style("error: ", fg="red", bold=True))
    if error.hint:
        echo(error.hint.replace("\n", "\n       "), err=True, label=click.style("hint:  ", fg="cyan"))
