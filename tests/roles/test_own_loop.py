"""A loop that is not ours trains with a secure head, as three processes; and the few lines that it takes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from amint_mpc.config import load_experiment
from amint_mpc.roles.plans import head_steps
from tests.roles.party_processes import Site

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"
MARK = "# --- amint-mpc:"


def test_it_takes_at_most_25_lines() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    first, last = (number for number, line in enumerate(lines) if MARK in line)
    inside = [line for line in lines[first + 1 : last] if line.strip()]
    imports = [line for line in lines if line.startswith(("from amint_mpc", "import amint_mpc"))]
    assert 0 < len(inside) + len(imports) <= 25
    assert all("head." not in line for line in lines[:first] + lines[last:] if not line.startswith(('"', "`")))


@pytest.mark.timeout(300)
def test_it_joins_auditor_and_dealer(site: Callable[..., Site]) -> None:
    place = site(connect_timeout_s=120)
    changes = [
        "security.correlations=dealer",
        "training.epochs=2",
        "data.members=100",
        "data.external=120",
        "data.unseen=80",
    ]
    experiment = load_experiment(EXAMPLE.with_suffix(".yaml"), changes)
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    (place.folder / "experiment.yaml").write_text(text)
    assert head_steps(experiment) == 4 + experiment.sealed_steps > 4

    files = [str(place.folder / "experiment.yaml"), str(place.party("developer"))]
    loop = place.execute(str(EXAMPLE), *files, name="loop")
    auditor, dealer = place.fork("auditor"), place.fork("dealer")
    assert (loop.wait(), auditor.wait(), dealer.wait()) == (0, 0, 0)
    assert loop.err == ""
    assert "task accuracy" in loop.out
    assert "step 4 of 4, task loss " in loop.out
    assert "mint_auc" in loop.out
    head = load_file(place.run_folder("auditor") / "head.safetensors")
    assert {name: tuple(value.shape) for name, value in head.items()} == {
        "w1": (96, 32),
        "b1": (32,),
        "w2": (32,),
        "b2": (),
    }
    assert {path.name for path in place.runs.iterdir()} == {"auditor", "dealer"}


def test_the_programs_own_loop_refuses_such_an_experiment(site: Callable[..., Site]) -> None:
    child = site().fork(
        "developer", "--set", "head.features=96", "--set", "training.evaluate_every=0", "--set", "evidence.log=false"
    )
    assert child.wait(60) == 2
    assert "training loop of your own" in child.err
