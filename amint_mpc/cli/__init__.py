"""The command line. Each command has a file of its own; torch is imported only by those that train.

options.py, failures.py   what commands share: options, and how an error ends one
terminal.py    the one place where text reaches the terminal, escaped
screen.py, study_screen.py, progress.py   progress of parties, of a study, of a measurement
figures.py, result.py, machine.py         results, the end of a run, a word on this machine
"""

from __future__ import annotations

import click

from amint_mpc import __version__
from amint_mpc.cli.attest import attest
from amint_mpc.cli.audit import audit
from amint_mpc.cli.bench import bench
from amint_mpc.cli.compare import compare
from amint_mpc.cli.config import config
from amint_mpc.cli.demo import demo
from amint_mpc.cli.doctor import doctor
from amint_mpc.cli.estimate import estimate
from amint_mpc.cli.evidence import evidence
from amint_mpc.cli.failures import ExplainingGroup
from amint_mpc.cli.keys import keys
from amint_mpc.cli.replay import replay
from amint_mpc.cli.report import report
from amint_mpc.cli.run import run
from amint_mpc.cli.study import study
from amint_mpc.cli.train import train
from amint_mpc.cli.verify import verify


@click.group(cls=ExplainingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="amint-mpc %(version)s")
def main() -> None:
    """Train an image classifier together with an auditor who can later tell what it was trained on.

    The developer holds the images and the classifier, the auditor a small membership head; they train at the
    same time in secure two-party computation.

    \b
    Start here:   amint-mpc demo
    A real run:   amint-mpc doctor, then amint-mpc run --role ... on each machine
    Completion:   eval "$(_AMINT_MPC_COMPLETE=bash_source amint-mpc)"   (or zsh_source, fish_source)
    """


for command in (
    demo,
    run,
    train,
    compare,
    study,
    keys,
    config,
    doctor,
    estimate,
    attest,
    verify,
    evidence,
    audit,
    replay,
    bench,
    report,
):
    main.add_command(command)
