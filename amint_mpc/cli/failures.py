"""The one place where an error becomes two lines on stderr and an exit code (the codes: `amint_mpc.errors`)."""

from __future__ import annotations

import signal
from types import FrameType

import click

from amint_mpc.cli.terminal import echo
from amint_mpc.errors import AmintError, Interrupted


class ExplainingGroup(click.Group):
    """A group whose commands end in `error: ...` and `hint: ...`. Other exceptions are bugs: they keep a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
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
