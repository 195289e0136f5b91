"""What a command says of this machine where it makes a run slow, or a measurement wrong."""

from __future__ import annotations

from rich.console import Console


def warn_without_kernel(console: Console) -> None:
    """Say that the secure computation will be slow, where the C kernel was not built."""
    from amint_mpc.host.checks import kernel  # loads torch

    found = kernel()
    if found.warning:
        console.print(f"{found.found}. {found.do}", style="yellow", soft_wrap=True)


def busy(load: float | None, cores: int) -> str:
    """That other work slowed a measurement down; empty where it did not. Args: load: average when it began."""
    if load is None or load <= cores:
        return ""
    return (
        f"The machine was busy: load average {load:.1f} on {cores} cores. An idle one is faster; measure again there."
    )
