"""Everything worth knowing on one CUDA device, within a budget of seconds: see on_gpu.sh, which calls this.

1. The tests of the engine, the method and the roles, with classifiers on the device.
2. `bench train` at full size: a secure step beside its plaintext twin's, on images of noise.
3. A secure training of ResNet-50 on Fashion-MNIST, for as many epochs as the rest of the time allows.

Each has its share of the budget. What would not fit is left out, what fails is reported, and the others go on. The JSON
is written anew after every row, so that something is there whatever ends the program.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS_UNTIL, OVERHEAD_UNTIL, ALL_UNTIL = 0.28, 0.72, 0.97  # shares of the budget
START_S, ROW_S = 20.0, 60.0  # what a comparison needs, while none has been measured; what one may take at most
TRAINING_START_S, SLACK = 25.0, 1.35  # processes, the final scoring; how much longer an epoch may take than its steps


@dataclass(frozen=True)
class Sizes:
    """What is run, and how large."""

    tests: tuple[str, ...] = (
        *("tests/amint", "tests/mpc", "tests/bench/test_device_waits.py", "tests/roles/test_secure_equals_plain.py"),
        *("tests/roles/test_sealed_epochs.py", "tests/roles/test_early_stopping.py", "tests/roles/test_conv_run.py"),
        *("tests/roles/test_head_optimizers.py", "tests/roles/test_own_loop.py", "tests/roles/test_three_processes.py"),
    )
    backbones: tuple[str, ...] = ("resnet50", "vit", "densenet121")
    sides: tuple[int, ...] = (32, 64)
    size: str = "full"
    batch: int = 64
    steps: int = 20
    threads: int = 4  # of the developer's torch; auditor and dealer have one each
    most_epochs: int = 1000
    training: tuple[str, ...] = (
        *("model.backbone=resnet50", "model.size=full", "model.width=null"),
        *("data.members=5000", "data.external=8000", "data.unseen=4000", "training.batch=64"),
    )


DRY = Sizes(
    tests=("tests/amint/test_transfer.py",),
    backbones=("vit",),
    sides=(16,),
    size="small",
    batch=4,
    steps=1,
    threads=1,
    most_epochs=4,
    training=(
        *("data.dataset=mnist-5k", "model.width=4", "head.hidden=8"),
        *("data.members=64", "data.external=64", "data.unseen=32", "training.batch=16"),
    ),
)


class TimeUp(Exception):
    """The time of a part is over."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` inside when so much time has passed. Main thread alone, not nested."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeUp

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass
class Report:
    """The rows, and the file that has them so far."""

    path: Path
    budget: float
    about: dict[str, Any]
    start: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def left(self, share: float) -> float:
        """Seconds until that share of the budget is used."""
        return self.start + share * self.budget - time.monotonic()

    def row(
        self,
        what: str,
        needed: float,
        share: float,
        work: Callable[[dict[str, Any]], None],
        most: float = float("inf"),
    ) -> dict[str, Any]:
        """Do some work, if it fits.

        Args:
            needed: seconds that it will take.
            share: of the budget, which may be used when it is done.
            work: puts its figures into what it is given; what is there when it fails or time is up, stays.
            most: seconds that it may take.
        """
        found: dict[str, Any] = {"what": what}
        self.rows.append(found)
        start, left = time.monotonic(), self.left(share)
        if left < needed:
            return self._done(found, start, "skipped", f"{needed:.0f} s needed, {max(left, 0):.0f} left")
        left = min(left, most)
        print(f"{time.monotonic() - self.start:4.0f} s  {what}", flush=True)
        try:
            with at_most(left):
                work(found)
        except TimeUp:
            return self._done(found, start, "cut short", f"its time of {left:.0f} s was over")
        except Exception as error:
            return self._done(found, start, "failed", f"{type(error).__name__}: {error}")
        except BaseException:
            self._done(found, start, "interrupted", "")
            raise
        return self._done(found, start, "done", "")

    def _done(self, found: dict[str, Any], start: float, status: str, why: str) -> dict[str, Any]:
        found |= {"status": found.get("status", status), "seconds": time.monotonic() - start, "why": why}
        self.save()
        return found

    def save(self) -> None:
        seconds = time.monotonic() - self.start
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {**self.about, "budget": self.budget, "seconds": seconds, "rows": self.rows}
        self.path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def run_tests(paths: tuple[str, ...], device: str, found: dict[str, Any]) -> None:
    """The tests, several at a time where pytest-xdist is there; some start three processes."""
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", "-W", "default", *paths]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(max(1, (os.cpu_count() or 1) // 2))]
    environment = {**os.environ, "AMINT_MPC_TEST_DEVICE": device, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        tests = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            tests.wait()
        finally:
            with suppress(ProcessLookupError):  # the tests, when time is up, and what they have started
                os.killpg(tests.pid, signal.SIGKILL)
            tests.wait()
            output.seek(0)
            lines = output.read().splitlines()
            found |= counted(lines)
    if tests.returncode:
        found["status"] = "failed"
        found["output"] = lines[-200:]


def counted(lines: list[str]) -> dict[str, Any]:
    """How many tests ended in which way, from the progress that pytest shows; of interrupted tests, too."""
    ends: dict[str, list[str]] = {}
    for line in lines:
        end, name = re.search(r"\b(PASSED|FAILED|SKIPPED|ERROR)\b", line), re.search(r"\S+::\S+", line)
        if "%]" in line and end and name:
            ends.setdefault(end[1].lower(), []).append(name[0])
    counts = {end: len(names) for end, names in ends.items()}
    return {
        "tests": counts,
        "broken": ends.get("failed", []) + ends.get("error", []),
        "result": ", ".join(f"{number} {end}" for end, number in counts.items()) or "no test",
    }


def overhead(backbone: str, side: int, sizes: Sizes, device: str, found: dict[str, Any]) -> None:
    """A secure step beside its twin's, with all that `bench train` says."""
    from amint_mpc.bench.train import measure
    from amint_mpc.config import Experiment

    data = {"members": 8 * sizes.batch, "external": 8 * sizes.batch, "unseen": 4}
    training = {"batch": sizes.batch, "warmup_epochs": 0, "evaluate_every": 0}
    values = {"data": data, "model": {"backbone": backbone, "size": sizes.size}, "training": training}
    experiment = Experiment.model_validate(values)
    found["bench"] = measure(experiment, sizes.steps, threads=sizes.threads, device=device, noise=side)


def train(sizes: Sizes, step_ms: float, data: Path | None, device: str, left: float, found: dict[str, Any]) -> None:
    """A secure training of so many epochs that it ends in time, if the steps take what they took before."""
    from amint_mpc.config import load_experiment
    from amint_mpc.events import EpochEvent, Event
    from amint_mpc.host import processes

    epoch_s = load_experiment("fashion-mnist", sizes.training).steps_per_epoch * step_ms / 1e3 * SLACK
    epochs = min(max(4, int((left - TRAINING_START_S) / epoch_s)), sizes.most_epochs)
    warm = min(8, epochs // 4)
    own = [f"training.warmup_epochs={warm}", f"training.epochs={epochs - warm}"]
    own.append(f"training.evaluate_every={max(1, epochs // 6)}")
    experiment = load_experiment("fashion-mnist", [*sizes.training, *own])
    found |= {"epochs_planned": epochs, "experiment": experiment.model_dump(mode="json"), "epochs": []}
    seconds: list[float] = []
    figures: dict[str, float] = {}

    def told(role: str, event: Event) -> None:
        if not isinstance(event, EpochEvent):
            return
        if role == "developer":
            found["epochs"].append({"epoch": event.epoch, "phase": event.phase, "seconds": event.seconds})
            if event.phase == "joint":
                seconds.append(event.seconds)
        if role == "developer" or event.figures:
            figures.update(event.figures)
            _summed_up(found, figures, seconds, event.epoch, "on calibration images")

    with tempfile.TemporaryDirectory(prefix="on-gpu-") as name:
        folder = Path(name)
        done = processes.run(folder, experiment, data, folder / "runs", told, sizes.threads, device)
    final = {key: figure.value for key, figure in done.figures.items()}
    found["summary"] = {role: summary.as_json() for role, summary in done.reports.items()}
    _summed_up(found, final, seconds, experiment.last_epoch, "on report images")


def _summed_up(found: dict[str, Any], figures: dict[str, float], seconds: list[float], epoch: int, where: str) -> None:
    per_epoch = median(seconds) if seconds else None
    found |= {"task_accuracy": figures.get("task_accuracy"), "mint_auc": figures.get("mint_auc")}
    found |= {"seconds_per_epoch": per_epoch, "last_epoch": epoch, "figures_are": where}
    parts = [f"{title} {figures[key]:.3f}" for key, title in TITLES.items() if key in figures]
    parts += [] if per_epoch is None else [f"{per_epoch:.1f} s an epoch"]
    found["result"] = ", ".join([f"after {epoch} epochs", *parts, where])


TITLES = {"task_accuracy": "task accuracy", "mint_auc": "MINT AUC"}


def table(report: Report) -> str:
    """All rows, as Markdown."""
    columns = ["", "s", "secure / twin, ms a step", "overhead", "device waits (twin)", "device MB (twin)", "result"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in report.rows:
        bench, cells = row.get("bench"), [""] * 4
        if bench:
            waits, peak = bench["device_waits_share"], bench["peak_device_mb"]
            cells = [
                f"{bench['secure_step_ms']:.1f} / {bench['plaintext_step_ms']:.1f}",
                f"{bench['overhead']:.2f}",
                f"{waits['developer']:.1%} ({waits['twin']:.1%})",
                f"{peak['developer']:,.0f} ({peak['twin']:,.0f})" if peak else "",
            ]
        status = "" if row["status"] == "done" else f"{row['status']}: {row['why']} ".replace("|", "/")
        result = (status + row.get("result", "")).replace("\n", " ").strip()
        lines.append("| " + " | ".join([row["what"], f"{row['seconds']:.0f}", *cells, result]) + " |")
    return "\n".join(lines)


def surroundings(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    from amint_mpc.mpc.ring import native

    on_cuda = torch.device(device).type == "cuda"
    listed = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", listed.read_text()) if listed.exists() else None
    return {
        "device": torch.cuda.get_device_name(device) if on_cuda else device,
        "device_mb": torch.cuda.get_device_properties(device).total_memory / 1e6 if on_cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_cuda else None,
        "tf32_in_convolutions": torch.backends.cudnn.allow_tf32 if on_cuda else None,
        "python": platform.python_version(),
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "functions_in_c": native.USED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=320.0, help="seconds for everything")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's IDX files; without it nothing is trained")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "on_gpu.json")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU, to see that it all runs")
    asked = parser.parse_args()
    sizes, device = (DRY, "cpu") if asked.dry else (Sizes(), asked.device)

    try:
        from amint_mpc.amint.trainer import pick_device
        from amint_mpc.bench import party, plaintext  # noqa: F401 - what the processes will need, not after minutes
        from amint_mpc.cli.failures import end_as_interrupted
        from amint_mpc.errors import UsageError
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: name its package to carry.sh") from None
    end_as_interrupted()
    try:
        pick_device(device)
    except UsageError as error:
        raise SystemExit(error.message) from None
    report = Report(asked.out, asked.budget, {"dry": asked.dry, **surroundings(device)})
    try:
        measure_all(report, sizes, device, asked.data, asked.dry)
    finally:
        print(f"\n{json.dumps(report.about)}\n\n{table(report)}\n\nJSON: {asked.out}")
    raise SystemExit(any(row["status"] == "failed" for row in report.rows))


def measure_all(report: Report, sizes: Sizes, device: str, data: Path | None, dry: bool) -> None:
    """The three parts, one after another."""
    report.row(f"tests, on {device}", 5, TESTS_UNTIL, lambda found: run_tests(sizes.tests, device, found))
    longest, step_ms = START_S if not dry else 1.0, None
    for side in sizes.sides:
        for backbone in sizes.backbones:

            def compared(found: dict[str, Any], backbone: str = backbone, side: int = side) -> None:
                overhead(backbone, side, sizes, device, found)

            what = f"{backbone}, {sizes.size}, {sizes.batch} + {sizes.batch} images of {side} pixels"
            row = report.row(what, longest, OVERHEAD_UNTIL, compared, 4 * ROW_S if dry else ROW_S)
            if row["status"] == "done":
                longest = max(longest, row["seconds"])
                if backbone == sizes.backbones[0]:  # the one that is trained
                    step_ms = step_ms or row["bench"]["secure_step_ms"]
    left = report.left(ALL_UNTIL)

    def trained(found: dict[str, Any]) -> None:
        if data is None and not dry:
            raise FileNotFoundError("there is no --data with Fashion-MNIST's IDX files")
        train(sizes, step_ms or 200.0, None if dry else data, device, left, found)

    report.row("training", TRAINING_START_S if not dry else 1.0, ALL_UNTIL, trained)


if __name__ == "__main__":
    main()
