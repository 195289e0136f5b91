"""Whole runs as processes: every file where it belongs, nothing where it does not, in whatever order they start."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors import safe_open

from amint_mpc.afterwards.replay import replay
from amint_mpc.cli.screen import Screen
from amint_mpc.cli.terminal import PlainConsole
from amint_mpc.config import ROLES, load_experiment
from amint_mpc.data.split import load_split
from amint_mpc.eventlines import from_record
from amint_mpc.events import StepEvent
from amint_mpc.roles.plans import stretches_of
from tests.roles.party_processes import Site, joint_epochs, records, wait_until

pytestmark = pytest.mark.timeout(300)

MakeSite = Callable[..., Site]
EVERYWHERE = {"metrics.jsonl", "summary.json", "experiment.yaml", "versions.json", "log.txt", "tensorboard"}
LOGGED = {"developer": {"evidence"}, "auditor": {"evidence", "head.salt"}, "dealer": set()}
OWN = {
    "developer": {"backbone.safetensors"},
    "auditor": {"first-head.safetensors", "head.safetensors", "scores.safetensors"},
    "dealer": set(),
}
INSECURE = "--insecure-embedded-dealer"


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def tensors(file: Path) -> dict[str, list[int]]:
    with safe_open(file, "pt") as stored:
        return {key: stored.get_slice(key).get_shape() for key in stored.keys()}  # noqa: SIM118 - no mapping


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One whole run, each party started as a user does."""
    experiment = load_experiment("smoke", ["security.correlations=dealer", "evidence.replay=true"])
    place = Site(tmp_path_factory.mktemp("finished"), experiment, connect_timeout_s=120)
    try:
        for role in ("dealer", "auditor", "developer"):
            place.execute_role(role)
        for child in place.children:
            child.wait()
        yield place
    finally:
        place.end()


def test_three_processes_as_a_user_starts_them(finished: Site) -> None:
    assert [(child.wait(), child.err) for child in finished.children] == [(0, "")] * 3
    for role in ROLES:
        folder = finished.run_folder(role)
        assert {path.name for path in folder.iterdir()} == EVERYWHERE | LOGGED[role] | OWN[role]
        assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
        assert any(record["event"] == "step" for record in records(folder))
        assert "connected to the" in (folder / "log.txt").read_text()
        assert yaml.safe_load((folder / "experiment.yaml").read_text())["name"] == "smoke"
        assert summary(folder)["role"] == role
        assert "insecure" not in summary(folder)
    known = [summary(finished.run_folder(role)) for role in ROLES]
    assert {each["digest"] for each in known} == {known[0]["digest"]}
    assert {each["steps"] for each in known} == {8}
    assert all(10 <= each["rounds_per_step"] <= 10.2 for each in known[:2])  # a run begins with one more


def test_all_of_it_can_be_done_again(finished: Site) -> None:
    found = replay(finished.run_folder("developer"), None, 0, 7)
    assert found.exact
    assert found.frames_matched
    assert found.assumes is None


def test_the_three_screens_of_a_run_agree(finished: Site) -> None:
    told = {role: [from_record(r) for r in records(finished.run_folder(role))] for role in ROLES}
    counted = {
        role: [(e.step, e.steps) for e in events if isinstance(e, StepEvent) and e.phase != "warm-up"]
        for role, events in told.items()
    }
    assert counted["developer"] == counted["auditor"] == [(n, 8) for n in range(1, 9)]
    blocks = sum(part.dealt for part in stretches_of(load_experiment("smoke", ["security.correlations=dealer"])))
    assert counted["dealer"] == [(n, blocks) for n in range(1, blocks + 1)]

    out = io.StringIO()
    with Screen(PlainConsole(file=out, width=200), ROLES) as screen:
        for role, events in told.items():
            for event in events:
                screen.show(role, event)
    last = {line.split()[0]: line for line in out.getvalue().splitlines()}
    assert all(f" {n} steps, " in last[role] for role, n in (("developer", "8/8"), ("auditor", "8/8")))
    assert f" {blocks}/{blocks} blocks, " in last["dealer"]
    assert all("epoch 3 of 3" in last[role] for role in ("developer", "auditor"))
    assert {summary(finished.run_folder(role))["steps"] for role in ROLES} == {8}


def test_what_is_saved_holds_no_activation(finished: Site) -> None:
    """The auditor stores its head and one score an image, the dealer counts; figures are shared, scores are not."""
    developer, auditor, dealer = (finished.run_folder(role) for role in ROLES)
    assert tensors(auditor / "head.safetensors") == {"w1": [96, 8], "b1": [8], "w2": [8], "b2": []}
    counts = {"members_calibration": 32, "members_report": 32, "unseen_calibration": 32, "unseen_report": 32}
    assert tensors(auditor / "scores.safetensors") == {name: [n] for name, n in {**counts, "external": 96}.items()}
    assert not any(shape == [96, 8] for shape in tensors(developer / "backbone.safetensors").values())
    figures = [summary(folder)["figures"] for folder in (developer, auditor)]
    assert figures[0]["mint_auc"] == figures[1]["mint_auc"]
    assert "task_accuracy" not in figures[1]
    assert all(not record["figures"] for record in records(dealer) if record["event"] == "epoch")
    assert not any("mint_auc" in record.get("figures", {}) for record in records(developer)), "it was not agreed"
    assert not any(record.get("losses") for folder in (auditor, dealer) for record in records(folder))


def test_the_dealer_may_come_last(site: MakeSite) -> None:
    place = site("training.epochs=1", "training.warmup_epochs=0")
    developer = place.fork("developer")
    wait_until(lambda: "waiting for the auditor" in developer.out, 60, "the developer waits for the auditor")
    auditor = place.fork("auditor")
    wait_until(lambda: "waiting for the dealer" in auditor.out, 60, "the auditor waits for the dealer")
    wait_until(lambda: "waiting for the dealer" in developer.out, 60, "so does the developer")
    dealer = place.fork("dealer")
    assert [child.wait() for child in (developer, auditor, dealer)] == [0, 0, 0]


def test_a_trial_without_a_dealer_is_marked_everywhere(site: MakeSite) -> None:
    place = site()
    parties = {"auditor": place.fork("auditor", INSECURE), "developer": place.fork("developer", INSECURE)}
    for role, child in parties.items():
        assert child.wait() == 0
        assert child.out.count("INSECURE") >= 2, "at the start and at the end of the screen"
        folder = place.run_folder(f"{role}-insecure")
        assert {path.name for path in folder.iterdir()} == EVERYWHERE | LOGGED[role] | OWN[role]
        for name in (path for path in EVERYWHERE if "." in path):
            assert "INSECURE" in (folder / name).read_text(), name
        for name in OWN[role]:
            with safe_open(folder / name, "pt") as stored:
                assert "INSECURE" in stored.metadata()["insecure"], name
        assert "INSECURE" in (folder / "evidence" / "log.jsonl").read_text().splitlines()[0]
    assert {path.name for path in place.runs.iterdir()} == {"auditor-insecure", "developer-insecure"}
    known = [summary(path) for path in place.runs.iterdir()]
    assert known[0]["digest"] == known[1]["digest"]
    assert {each["steps"] for each in known} == {8}


def test_a_stranger_is_turned_away_and_the_developer_still_gets_in(site: MakeSite) -> None:
    place, strangers = site("training.epochs=1", "training.warmup_epochs=0"), site()
    auditor = place.fork("auditor", INSECURE)
    # The stranger has keys of its own as developer, and knows address and certificate of the auditor.
    trusted = strangers.folder / "developer" / "keys" / "trusted" / "auditor.pem"
    trusted.write_bytes((place.folder / "auditor" / "keys" / "auditor.pem").read_bytes())
    strangers.change("developer", auditor={"port": place.port("auditor")})
    stranger = strangers.fork("developer", INSECURE)
    assert stranger.wait() == 3
    assert "refused the certificate of this developer" in stranger.err
    assert re.search(r"refused a connection from 127\.0\.0\.1:\d+: .*certificate", " ".join(auditor.out.split()))
    assert auditor.code() is None
    assert place.fork("developer", INSECURE).wait() == 0
    assert auditor.wait() == 0


def test_epochs_are_on_disk_while_it_runs(site: MakeSite) -> None:
    place = site("training.epochs=200")
    auditor, developer = place.fork("auditor", INSECURE), place.fork("developer", INSECURE)
    folder = place.run_folder("developer-insecure")
    wait_until(lambda: joint_epochs(folder) >= 1, 90, lambda: f"an epoch\n{developer.out}{developer.err}")
    assert tensors(folder / "backbone.safetensors")
    assert developer.code() is None
    assert auditor.code() is None


def test_a_private_query_afterwards(finished: Site, tmp_path: Path) -> None:
    split = load_split(load_experiment("smoke"), None)
    for number, image in enumerate([*split.members[:3], *split.external[:2], split.unseen[0]]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    more = {
        "auditor": ["--images", str(tmp_path), "--canaries", "2"],
        "developer": ["--open-members", "2"],
        "dealer": [],
    }
    children = []
    for role in ROLES:
        places = ["--run", str(finished.run_folder(role)), "--party", str(finished.party(role))]
        command = ["-m", "amint_mpc", "audit", "--role", role, *places, *more[role], "--json"]
        children.append(finished.execute(*command, name=f"audit-{role}"))
    assert [(child.wait(), child.err) for child in children if child.wait()] == []
    told = json.loads(children[ROLES.index("auditor")].out.splitlines()[-1])
    assert (told["images"], told["external"], told["canaries"]) == (6, 2, 2)
    rows = (Path(told["folder"]) / "verdicts.csv").read_text().splitlines()
    assert len(rows) == 7
    assert [row.split(",")[-1] for row in rows[1:]] == ["False"] * 3 + ["True"] * 2 + ["False"]
    logs = [(finished.run_folder(role) / "evidence" / "log.jsonl").read_bytes() for role in ("developer", "auditor")]
    assert logs[0] == logs[1]
