"""The commands as a user types them: what they print, and with which code they end."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from amint_mpc import __version__
from amint_mpc.cli import main
from amint_mpc.config import list_experiments, list_studies
from amint_mpc.events import EpochEvent
from amint_mpc.limits import representable_rate
from amint_mpc.mpc.dense import descent
from amint_mpc.runfolder import RunFolder

SMOKE = ["--config", "smoke", "--set", "training.epochs=1", "--set", "training.warmup_epochs=0"]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AMINT_MPC")]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str, **env: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return invoke


def test_version(cli) -> None:
    assert cli("--version").output == f"amint-mpc {__version__}\n"


def test_the_least_learning_rate_of_the_head_is_the_one_that_is_named(cli) -> None:
    least = 1.90735e-06  # 16 / 2^23, rounded up
    descent.GradientDescent(*representable_rate(least / 16))  # the secure head takes it
    smoke = ("config", "check", "smoke", "--set", "training.batch=16", "--set")
    assert cli(*smoke, f"head.learning_rate={least}").exit_code == 0
    assert "1.908e-06" in cli(*smoke, f"head.learning_rate={least / 2}").stderr


def test_an_own_loop_brings_dataset_and_backbone(cli) -> None:
    own = (
        "head.features=96",
        "training.evaluate_every=0",
        "evidence.log=false",
        "data.dataset=mine",
        "model.backbone=mine",
    )
    assert cli("config", "check", "smoke", *(word for each in own for word in ("--set", each))).exit_code == 0


def test_config_list_show_and_check(cli) -> None:
    experiments, studies = cli("config", "list").output.split("Studies")
    assert "quickstart " in experiments
    assert "study-smoke " not in experiments
    assert "study-smoke " in studies
    shown = cli("config", "show", "smoke", "--set", "seed=7").output
    assert yaml.safe_load(shown)["seed"] == 7
    assert "digest" in shown
    assert cli("config", "check", "smoke", "study-smoke").output.count("ok ") == 2


def test_the_list_has_two_columns_of_whole_sentences(cli) -> None:
    lines = [line for line in cli("config", "list").output.splitlines() if line and not line.startswith("Studies")]
    assert len(lines) == len(list_experiments()) + len(list_studies())
    starts = {len(re.match(r"\S+ +", line).group()) for line in lines}
    assert len(starts) == 1
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "check", "nope"),
        ("config", "check", "smoke", "--set", "data.dataset=nope"),
        ("config", "check", "smoke", "--set", "model.backbone=nope"),
        ("config", "check", "smoke", "--set", "head.learning_rate=1e-9"),
        ("train", "--set", "head.learning_rate=1e-9"),
        ("config", "check", "smoke", "--set", "head.optimizer=momentum", "--set", "head.learning_rate=1e-9"),
        ("config", "check", "smoke", "--set", "head.optimizer=novograd", "--set", "head.learning_rate=0.3"),
        ("train", "--set", "head.optimizer=novograd", "--set", "head.learning_rate=0.001"),
        ("run", "--role", "auditor", "--set", "data.dataset=nope"),
        ("train", "--set", "training.epochz=1"),
        ("train", "--config", "study-smoke"),
        ("study", "--config", "smoke"),
        ("config", "check", "study-smoke", "--set", "seed=2"),
        ("run", "--role", "developer", "--party", "absent.yaml"),
        ("run", "--role", "developer", "--set", "security.correlations=insecure-embedded-dealer"),
        ("run", "--role", "dealer", "--insecure-embedded-dealer"),
        ("demo", "--set", "security.correlations=insecure-embedded-dealer"),
        ("demo", "--keep", "."),
    ],
)
def test_a_usage_error_has_message_hint_and_code_2(cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "\nhint:  " in result.stderr
    assert result.stdout == ""
    assert not list(Path.cwd().iterdir())  # no run folder


def test_click_usage_errors_end_with_2(cli) -> None:
    assert cli("run").exit_code == 2
    assert cli("run", "--role", "president").exit_code == 2


def test_the_environment_stands_for_options(cli) -> None:
    assert 'no experiment "nope"' in cli("train", AMINT_MPC_CONFIG="nope").stderr


def test_keys_are_made_shown_and_trusted(cli, tmp_path: Path) -> None:
    assert cli("keys", "new", "--role", "developer").exit_code == 0
    made = cli("keys", "new", "--role", "auditor", "--keys", "elsewhere")
    own = tmp_path / "parties/developer/keys/developer.key"
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert cli("keys", "new", "--role", "developer").exit_code == 2  # never overwritten

    copied = tmp_path / "a folder"
    copied.mkdir()
    (copied / "party.yaml").write_text("role: dealer\n")
    told = cli("keys", "show", "--role", "dealer", "--party", "a folder/party.yaml").stderr
    program, *command = shlex.split(told.rpartition("Make them: ")[2])
    assert (program, cli(*command).exit_code) == ("amint-mpc", 0)
    assert (copied / "keys/dealer.key").is_file()  # where it was looked for
    checks = json.loads(cli("doctor", "--role", "dealer", "--party", "a folder/party.yaml", "--json").stdout)["checks"]
    step = next(check["do"] for check in checks if "auditor" in check["found"])
    assert "keys trust --role dealer --party 'a folder/party.yaml' auditor auditor.pem" in step

    assert "auditor    not trusted yet" in cli("keys", "show", "--role", "developer").output
    trusted = cli("keys", "trust", "--role", "developer", "auditor", "elsewhere/auditor.pem")
    print_of_auditor = made.output.split()[-1]
    assert print_of_auditor.startswith("sha256:")
    assert print_of_auditor in trusted.output
    assert print_of_auditor in cli("keys", "show", "--role", "developer").output
    assert "PRIVATE" not in made.output + trusted.output

    assert cli("keys", "trust", "--role", "developer", "dealer", "elsewhere/auditor.pem").exit_code == 2
    assert cli("keys", "trust", "--role", "developer", "developer", "elsewhere/auditor.pem").exit_code == 2
    assert cli("keys", "show", "--role", "dealer").exit_code == 3


def test_doctor_in_an_empty_folder_says_what_to_do(cli) -> None:
    result = cli("doctor")
    assert result.exit_code == 2
    assert "amint-mpc doctor --role" in result.output.replace("\n", " ")
    result = cli("doctor", "--role", "auditor", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (2, False)
    steps = [check["do"] for check in told["checks"] if not check["ok"]]
    assert "amint-mpc keys new --role auditor" in steps
    assert any("keys trust --role auditor developer" in step for step in steps)
    assert not any("dealer" in step for step in steps)
    assert next(check["found"] for check in told["checks"] if check["what"] == "masks").startswith("two-party on a lan")


def test_doctor_is_content_when_all_is_there(cli, tmp_path: Path) -> None:
    for role in ("developer", "auditor", "dealer"):
        cli("keys", "new", "--role", role, "--keys", "keys")
    for peer in ("auditor", "dealer"):
        cli("keys", "trust", "--role", "developer", "--keys", "keys", peer, f"keys/{peer}.pem")
    (tmp_path / "party.yaml").write_text("role: developer\n")
    good = cli("doctor", "--role", "developer", "--party", "party.yaml", "--config", "smoke")
    assert good.exit_code == 0, good.output
    (tmp_path / "keys/developer.key").chmod(0o644)
    bad = cli("doctor", "--role", "developer", "--party", "party.yaml", "--config", "smoke")
    assert bad.exit_code == 2
    assert "Run chmod 600" in bad.output.replace("\n", " ")


def test_what_was_found_is_no_markup(cli) -> None:
    result = cli("doctor", "--role", "dealer", "--party", "[/red].yaml")
    assert "[/red].yaml" in result.output


def test_the_demo_sees_too_few_images_before_it_starts(cli, tmp_path: Path) -> None:
    result = cli("demo", "--config", "smoke", "--set", "data.members=4990")
    assert result.exit_code == 5
    assert "5000 images" in result.stderr
    assert not list(tmp_path.iterdir())


def test_train_prints_figures_and_one_json_line(cli, tmp_path: Path) -> None:
    result = cli("train", *SMOKE, "--name", "first", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)  # nothing else is on stdout
    assert told["steps"] == 4
    assert (told["duplicates"], sum(told["class_counts"]["members"])) == ({}, 64)
    assert 0 <= told["figures"]["mint_auc"]["low"] <= told["figures"]["mint_auc"]["high"] <= 1
    assert json.loads((tmp_path / "runs/first/summary.json").read_text())["figures"] == told["figures"]

    for key in ("mint_accuracy_calibrated", "mint_accuracy_at_half", "mint_auc", "tpr_at_1pct_fpr", "task_accuracy"):
        figure = told["figures"][key]
        assert (told[key], told["intervals"][key]) == (figure["value"], [figure["low"], figure["high"]])
    assert told["seconds"] > 0

    again = cli("train", *SMOKE, "--name", "first")
    assert again.exit_code == 2
    assert "exists already" in again.stderr

    alone = cli("train", *SMOKE, "--set", "training.mint_weight=0", "--name", "alone")
    assert "accuracy, unseen images" in alone.output
    assert "ROC" not in alone.output
    assert not (tmp_path / "runs/alone/head.safetensors").exists()


def test_an_interrupted_training_leaves_its_weights(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: RunFolder, event: object) -> None:
        if isinstance(event, EpochEvent):
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "record", interrupt)
    assert cli("train", *SMOKE, "--name", "cut").exit_code == 130
    for name in ("backbone", "head"):
        assert load_file(tmp_path / f"runs/cut/{name}.safetensors")
    assert not (tmp_path / "runs/cut/summary.json").exists()


def test_doctor_looks_at_the_partys_device_and_downloads_nothing(cli, tmp_path: Path) -> None:
    (tmp_path / "party.yaml").write_text("role: developer\ndevice: teapot\ndata: images\n")
    checks = json.loads(cli("doctor", "--config", "fashion-mnist", "--json").stdout)["checks"]
    found = {check["what"]: check for check in checks}
    assert not found["developer device"]["ok"]
    assert "teapot" in found["developer device"]["found"]
    assert "would be downloaded" in found["developer data"]["found"]
    assert not (tmp_path / "images").exists()


def test_an_interrupt_ends_with_130(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["amint_mpc.cli.config"], "list_experiments", interrupted)
    result = cli("config", "list")
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_commands_that_do_not_train_do_not_load_torch() -> None:
    code = "import sys, amint_mpc.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
