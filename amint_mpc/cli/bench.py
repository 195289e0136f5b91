"""`amint-mpc bench`: what the secure computation costs, measured beside others on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from amint_mpc.cli import figures, options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.machine import warn_without_kernel
from amint_mpc.cli.progress import progress
from amint_mpc.cli.terminal import echo
from amint_mpc.config import PARTIES, ROLES, Party, load_experiment
from amint_mpc.eventlines import json_line

if TYPE_CHECKING:
    from amint_mpc.bench.ours import EmulatedLink
    from amint_mpc.bench.setup import Against

threads = click.option("--threads", type=int, default=1, show_default=True, help="Threads of torch in each process.")
rtt_ms = click.option("--rtt-ms", type=float, help="Delay the link between developer and auditor: a round trip.")
mbit = click.option("--mbit", type=float, help="Limit that link: millions of bits a second, each way.")
plot = click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path, dir_okay=False))
sizes = (
    click.option("--features", type=int, default=768, show_default=True, help="Inputs of the head."),
    click.option("--hidden", type=int, default=128, show_default=True, help="Hidden units of the head."),
    click.option("--batch", type=int, default=128, show_default=True, help="Rows of a step, half of them members."),
)


def _sized(command: Any) -> Any:
    for option in reversed(sizes):
        command = option(command)
    return command


@click.group()
def bench() -> None:
    """Measure what a step costs, in turns with others on this machine."""


@bench.command()
@_sized
@click.option("--steps", type=int, default=50, show_default=True, help="Timed steps of ours.")
@click.option("--against", type=click.Choice(["crypten", "spu"]), help="Measure stock CrypTen, or SPU, too.")
@threads
@rtt_ms
@mbit
@plot
@options.as_json
def head(
    features: int,
    hidden: int,
    batch: int,
    steps: int,
    against: Against | None,
    threads: int,
    rtt_ms: float | None,
    mbit: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """One training step of the head: ours, CrypTen's or SPU's, and in plaintext.

    Ours is the processes of a run over TLS 1.3 on loopback: with a dealer, and the two parties alone, who make their
    masks while the steps run (and once more with all masks ready before). Over another link, with --rtt-ms or --mbit,
    it is the one with a dealer only. CrypTen's first party makes all randomness, which gives it no security, and its
    links are not encrypted. SPU takes the step as one would first write it: semi2k, where its first party makes all
    randomness, too, and cheetah, for two parties without a dealer; one thread each, links not encrypted. --plot draws
    ours with a dealer over five round-trip times.
    """
    from amint_mpc.bench.head_step import LINKS, measure  # loads torch
    from amint_mpc.bench.setup import Setup

    if plot is not None:
        from amint_mpc.bench import plot as plots

        plots.check(plot)
    end_as_interrupted()
    setup = Setup(features, hidden, batch, steps, threads, against, _link(rtt_ms, mbit))
    console = terminal.console(as_json)
    warn_without_kernel(console)
    with progress(console) as on_progress:
        found = measure(setup, LINKS if plot else (), on_progress)
    if plot is not None:
        plots.over_round_trips(found["at_rtt"], found["rounds"], plot)
    if as_json:
        echo(json_line(found))
        return
    link = f", over {_shown(found['link'])}" if found["link"] else ""
    console.print(
        f"\nhead {features} -> {hidden} -> 1, batch {batch}, {steps} steps in {found['slices']} slices{link}\n"
    )
    console.print(_contest(found))
    if ratio := found["two_party_vs_spu_cheetah"]:
        console.print(f"two parties alone: SPU cheetah takes {1 / ratio:.1f} times as long as ours")
    console.print(
        f"the log of a run would take {found['ours_with_log_ms']:.2f} ms a step: {found['log_share']:.1%} of it"
    )
    console.print(_times(found))
    console.print(_memory(found), soft_wrap=True)
    if plot is not None:
        console.print(_delays(found["at_rtt"]))
        console.print(f"plot: {plot}", markup=False)


@bench.command()
@options.config
@options.overrides
@options.data
@click.option("--steps", type=int, default=20, show_default=True, help="Timed steps of the secure run.")
@click.option("--threads", type=int, help="Threads of the developer's torch.  [default: as many as cores]")
@click.option("--device", default="auto", show_default=True, help="Of the classifier: auto, cpu or cuda.")
@click.option("--noise", type=int, metavar="PIXELS", help="Train on square images of noise in place of the data.")
@rtt_ms
@mbit
@options.as_json
def train(
    source: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    steps: int,
    threads: int | None,
    device: str,
    noise: int | None,
    rtt_ms: float | None,
    mbit: float | None,
    as_json: bool,
) -> None:
    """A step of the whole joint training: secure, and its plaintext twin.

    The twin is measured with one thread and with all cores; the better one counts. "the device waits" is the share of
    a step in which the classifier's device has nothing to do, for the head is not done.
    """
    experiment, data = load_experiment(source, overrides), options.images_folder(data)

    from amint_mpc import plaintext_run  # loads torch
    from amint_mpc.bench.train import measure

    plaintext_run.check(experiment, Party(role="developer", data=data))
    end_as_interrupted()
    console = terminal.console(as_json)
    warn_without_kernel(console)
    with progress(console) as on_progress:
        cores = os.cpu_count() or 1
        found = measure(
            experiment, steps, data, threads or cores, _link(rtt_ms, mbit), on_progress, device=device, noise=noise
        )
    if as_json:
        echo(json_line(found))
        return
    link = f", over {_shown(found['link'])}" if found["link"] else ""
    console.print(f"\n{found['experiment']}: {steps} joint steps in {found['slices']} slices{link}\n")
    grid = _grid("", "ms a step", "from", "to")
    labels = {"secure_step_ms": "secure", "plaintext_step_ms": f"plaintext, {_count(found['threads']['twin'])}"}
    for key, label in labels.items():
        grid.add_row(label, *(f"{value:.1f}" for value in (found[key], *found["spread"][key])))
    console.print(grid)
    console.print(f"overhead  {found['overhead']:.1f} times")
    if found["log_share"] is not None:
        console.print(f"the log   {found['log_share']:.1%} of a step")
    waits = found["device_waits_share"]
    console.print(f"the device waits {waits['developer']:.1%} of a secure step, {waits['twin']:.1%} of the twin's")
    if found["peak_device_mb"] is not None:
        peaks = [f"{name} {figures.size(value)}" for name, value in found["peak_device_mb"].items()]
        console.print(f"most memory on the device: {', '.join(peaks)}")
    console.print()
    console.print(_times(found))
    console.print(_memory(found), soft_wrap=True)


@bench.command()
@_sized
@click.option("--steps", type=int, default=15, show_default=True, help="Timed steps at each size.")
@threads
@plot
@options.as_json
def scaling(features: int, hidden: int, batch: int, steps: int, threads: int, plot: Path | None, as_json: bool) -> None:
    """How a step of the head grows: half and twice the batch, features and hidden units.

    Time and bytes should grow in a straight line, rounds not at all.
    """
    from amint_mpc.bench import scaling as sizes  # loads torch
    from amint_mpc.bench.setup import Setup

    if plot is not None:
        from amint_mpc.bench import plot as plots

        plots.check(plot)
    end_as_interrupted()
    console = terminal.console(as_json)
    warn_without_kernel(console)
    with progress(console) as on_progress:
        rows = sizes.measure(Setup(features, hidden, batch, steps, threads), on_progress)
    if plot is not None:
        plots.over_sizes(rows, plot)
    if as_json:
        echo(json_line({"rows": rows}))
        return
    grid = _grid("", "batch", "features", "hidden", "ms", "from", "to", "rounds", "developer", "auditor", "dealer")
    for row in rows:
        sent = (figures.size(row[key]) for key in ("mb_sent_developer", "mb_sent_auditor", "mb_dealer"))
        times = (f"{row[key]:.1f}" for key in ("ms", "low", "high"))
        counts = (str(row[key]) for key in ("batch", "features", "hidden"))
        grid.add_row(row["axis"], *counts, *times, str(row["rounds"]), *sent)
    console.print()
    console.print(grid)


@bench.command()
@options.config
@options.overrides
@options.data
@click.option("--sealed-epochs", type=int, help="Of the sealed arm.  [default: those of the experiment]")
@click.option("--attackers", type=int, default=3, show_default=True, help="Heads of the developer's own.")
@click.option(
    "--noise", type=float, default=1.0, show_default=True, help="Of the arm with noise, in rms of the gradient."
)
@click.option("--budget", type=float, default=60.0, show_default=True, help="Seconds for isolating units, in each arm.")
@options.as_json
def leakage(
    source: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    sealed_epochs: int | None,
    attackers: int,
    noise: float,
    budget: float,
    as_json: bool,
) -> None:
    """What the opened gradients give away: a developer tries to rebuild the head.

    Trains the plaintext twin once and attacks its joint head, with and without noise in its gradients, and the head
    of sealed epochs, which is the one that is kept. Only differences from a head that the developer trains on its own
    say something of the gradients.
    """
    experiment, data = load_experiment(source, overrides), options.images_folder(data)

    from amint_mpc.bench.leakage import BUDGETS, measure  # loads torch

    end_as_interrupted()
    console = terminal.console(as_json)
    with progress(console) as on_progress:
        found = measure(experiment, sealed_epochs, attackers, data, on_progress, noise, budget)
    if as_json:
        echo(json_line(found))
        return
    console.print(f"\n{experiment.name}: {attackers} attackers, {found['sealed_epochs']} sealed epochs\n")
    moves = [f"moved {budget:.0%}" for budget in BUDGETS]
    grid = _grid("rebuilt from, against", "agreement", "on unseen", "correlation", "on unseen", *moves)
    keys = [
        "agreement",
        "agreement_unseen",
        "correlation",
        "correlation_unseen",
        *(f"evasion_{budget:g}" for budget in BUDGETS),
    ]
    for arm, row in found["arms"].items():
        grid.add_row(arm, *(f"{row[key]['mean']:.3f} ± {row[key]['sd']:.3f}" if key in row else "" for key in keys))
    console.print(grid)
    for name, figures_of in found["mint"].items():
        console.print(f"{name} head: MINT accuracy {figures_of['accuracy']:.3f}, AUC {figures_of['auc']:.3f}")
    isolated = ", ".join(f"{arm} {count}" for arm, count in found["units_isolated"].items())
    console.print(
        f"units found of {experiment.head.hidden}: {isolated}; noise {noise:g} rms of {found['gradient_rms']:.2g}"
    )
    console.print(
        f"rho of zCDP for a whole gradient: {found['rho_per_step']:.3g} a step, {found['rho_run']:.3g} in all"
    )
    console.print("moved: share of found members that escape when their features move by so much of their length")


def _link(rtt_ms: float | None, mbit: float | None) -> EmulatedLink | None:
    from amint_mpc.bench.ours import EmulatedLink

    return None if rtt_ms is None and mbit is None else EmulatedLink(rtt_ms or 0.0, mbit)


def _grid(*titles: str) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for number, title in enumerate(titles):
        grid.add_column(title, justify="right" if number else "left", no_wrap=True)
    return grid


def _contest(found: Mapping[str, Any]) -> Table:
    grid = _grid("", "ms a step", "from", "to", "rounds", "sent")
    sent = figures.size(found["mb_sent_developer"] + found["mb_sent_auditor"] + found["mb_dealer"])
    names = {"ours_ms": ("ours, masks by a dealer", str(found["rounds"]), sent)}
    if found["two_party_ms"]:
        sent, rounds = figures.size(sum(found["two_party_mb"])), str(found["two_party_rounds"])
        names["two_party_ms"] = ("ours, masks by the two parties", rounds, sent)
        names["two_party_online_ms"] = ("  the same, masks ready", rounds, "")
    if found["crypten_ms"]:
        for key, way, name in (("crypten_ms", "stock", "as it comes"), ("crypten_lean_ms", "lean", "no loss value")):
            rounds, size = str(found["crypten_rounds"][way]), figures.size(found["crypten_mb"][way])
            names[key] = (f"CrypTen (no security), {name}", rounds, size)
    if found["spu_mb"]:
        for protocol, name in (("semi2k", "trusted first party"), ("cheetah", "no dealer")):
            size = figures.size(sum(found["spu_mb"][protocol]))
            names[f"spu_{protocol}_ms"] = (f"SPU {protocol} ({name})", "", size)
    names["plaintext_ms"] = (f"plaintext, {_count(found['threads']['plaintext'])}", "", "")
    for key, (name, *rest) in names.items():
        grid.add_row(name, *(f"{value:.2f}" for value in (found[key], *found["spread"][key])), *rest)
    return grid


def _times(found: Mapping[str, Any]) -> Table:
    grid = _grid("where our time goes, with a dealer", "ms a step")
    for key, value in found["developer_ms"].items():
        if key not in ("backbone", "at_the_same_time") or value >= 0.05:
            grid.add_row(f"developer: {key.replace('_', ' ')}", f"{value:.2f}")
    grid.add_row("auditor: waiting for peer", f"{found['auditor_waiting_ms']:.2f}")
    for role, value in found["cpu_ms"].items():
        grid.add_row(f"{role}: processor", f"{value:.2f}")
    for role, value in zip(PARTIES, found.get("two_party_cpu_ms") or (), strict=False):
        grid.add_row(f"{role}, without a dealer: processor", f"{value:.2f}")
    return grid


def _memory(found: Mapping[str, Any]) -> str:
    sent = zip(ROLES, ("mb_sent_developer", "mb_sent_auditor", "mb_dealer"), strict=True)
    parts = [f"{role} sends {figures.size(found[key])}" for role, key in sent]
    peaks = [f"{role} {figures.size(value)}" for role, value in found["peak_mb"].items()]
    alone = (
        [
            f"{role} sends {figures.size(size)}, most memory {figures.size(most)}"
            for role, size, most in zip(PARTIES, found["two_party_mb"], found["two_party_peak_mb"], strict=True)
        ]
        if found.get("two_party_mb")
        else []
    )
    lines = [f"{found['rounds']} rounds a step; {', '.join(parts)}", f"most memory: {', '.join(peaks)}"]
    return "\n".join(["", *lines, *([f"without a dealer: {', '.join(alone)}"] if alone else [])])


def _delays(points: list[dict[str, float]]) -> Table:
    grid = _grid("round trip (ms)", "ms a step")
    for point in points:
        grid.add_row(f"{point['rtt_ms']:g}", f"{point['ms']:.1f}")
    return grid


def _shown(link: Mapping[str, Any]) -> str:
    rate = "" if link["mbit"] is None else f", {link['mbit']:g} Mbit/s"
    return f"{link['rtt_ms']:g} ms round trips{rate}"


def _count(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"
