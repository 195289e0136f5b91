"""amint-mpc: active membership-inference auditing, with the head trained inside secure two-party computation.

    import amint_mpc as am

    experiment = am.load_experiment("smoke", ["training.epochs=5"])
    twin = am.train(experiment)               # the plaintext twin: images, classifier and head in this process
    run = am.run_in_process(experiment)       # all parties as threads: PROTECTS NOTHING
    found = am.audit(run, images)             # were these trained on? scores, verdicts, p and q values
    am.verify(run)                            # the log that both parties signed
    am.report(run)                            # one HTML page

    with am.join(experiment, "developer") as audit:   # a training loop of your own, for real
        audit.tap(model, "layer2", "layer3")
        for epoch in range(audit.epochs):
            for batch in loader:                      # of audit.loader(members, external, unseen)
                ...                                   # your step, with + audit.loss()
        audit.finish()

What they return shows itself as a table in a notebook (examples/quickstart.ipynb). A run that protects anybody has a
machine for each party and is started with `amint-mpc run`; `join` takes the developer's place in one.

Names are loaded when they are first used: importing this package loads neither torch nor anything else.

These names, the command line, the files of run folders, and what examples/ import are what you can rely on:
`amint_mpc.errors`, `amint_mpc.models` (backbones of your own), `amint_mpc.data`, `Experiment` and `Party` of
`amint_mpc.config`, `main` of `amint_mpc.cli`, `Audit` and `Batch` of `amint_mpc.amint`,
`AuditCallback` of `amint_mpc.loops.lightning`, `AuditTrainer` of `amint_mpc.loops.huggingface`. Everything else is
private by convention and changes without notice.

Where to look, from the top: cli, api (behind the names above), study and bench, afterwards and host, roles, runlog,
loops (frameworks' training loops), then amint (the method), mpc (the secure computation), evidence and pages,
transport, models and data. Beside them:

    config.py, reading.py    settings of an experiment and of a party, and the YAML they come from
    plaintext_run.py         the plaintext twin of a run
    results.py               what a run says at its end, typed; tables.py shows it in a notebook
    limits.py                where the secure head is exact, and which rates it can apply
    runfolder.py             the folder of one run
    events.py, eventlines.py what a running party tells, and the same as lines
    identity.py              a party's keys, and whose certificates it trusts
    errors.py, printable.py  errors with exit codes; foreign text made fit for a screen
    memory.py                freed memory stays in the process
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amint_mpc.afterwards.own_loop import replaying
    from amint_mpc.api.auditing import audit
    from amint_mpc.api.checking import verify
    from amint_mpc.api.reporting import report
    from amint_mpc.api.training import train
    from amint_mpc.config import load_experiment, load_party
    from amint_mpc.host.in_process import run_in_process
    from amint_mpc.roles.developer import join

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "audit",
    "join",
    "load_experiment",
    "load_party",
    "replaying",
    "report",
    "run_in_process",
    "train",
    "verify",
]

_PLACES = {
    "audit": ("api.auditing", "audit"),
    "join": ("roles.developer", "join"),
    "load_experiment": ("config", "load_experiment"),
    "load_party": ("config", "load_party"),
    "replaying": ("afterwards.own_loop", "replaying"),
    "report": ("api.reporting", "report"),
    "run_in_process": ("host.in_process", "run_in_process"),
    "train": ("api.training", "train"),
    "verify": ("api.checking", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
