"""Experiments and party files: what comes with the program is right, and what is wrong is said in words."""

import shlex
import shutil
from pathlib import Path

import pytest

from amint_mpc.cli import main
from amint_mpc.config import ROLES, list_experiments, list_studies, load_experiment, load_party
from amint_mpc.errors import UsageError
from amint_mpc.reading import MAX_BYTES
from amint_mpc.study.plan import load_study

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list_experiments())
def test_each_experiment_starts_with_its_command(name: str) -> None:
    path = list_experiments()[name]
    first, second, *_ = path.read_text().splitlines()
    program, command, *arguments = shlex.split(first.removeprefix("# "))
    assert (program, load_experiment(name).name) == ("amint-mpc", name)
    parsed = main.commands[command].make_context(command, arguments)
    assert parsed.params["source"] == name
    assert second.startswith("# ")


def test_the_experiments_of_the_checkout_are_listed() -> None:
    files = {path.stem: path for path in sorted((ROOT / "configs").glob("*.yaml"))}
    assert list_experiments() | list_studies() == files
    assert "quickstart" in list_experiments()
    assert "study-smoke" in list_studies()


@pytest.mark.parametrize("name", list_studies())
def test_each_study_starts_with_its_command(name: str) -> None:
    first, second, *_ = list_studies()[name].read_text().splitlines()
    program, command, *arguments = shlex.split(first.removeprefix("# "))
    assert (program, command, load_study(name)[0].name) == ("amint-mpc", "study", name)
    assert main.commands[command].make_context(command, arguments).params["source"] == name
    assert second.startswith("# ")


def test_a_study_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a study") as caught:
        load_experiment("study-smoke")
    assert "amint-mpc study --config study-smoke" in caught.value.hint
    (tmp_path / "own.yaml").write_text("grid: {}\n")
    with pytest.raises(UsageError, match="is a study"):
        load_experiment(tmp_path / "own.yaml")
    with pytest.raises(UsageError, match='no study "smoke"'):
        load_study("smoke")


def test_set_changes_a_value_in_order() -> None:
    found = load_experiment("smoke", ["training.epochs=3", "training.learning_rate=1e-3", "training.epochs=4"])
    assert (found.training.epochs, found.training.learning_rate) == (4, 0.001)
    assert found.digest() != load_experiment("smoke").digest()


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        ("training.epoch=3", "training.epoch is not a known key", "Did you mean training.epochs?"),
        ("epochs=3", "epochs is not a known key", "Did you mean training.epochs?"),
        ("traning.epochs=3", "traning is not a known key", "Did you mean training.epochs?"),
        ("traning.epoch=3", "traning is not a known key", "Did you mean training.epochs?"),
        ("traning.zzz=3", "traning is not a known key", "Did you mean training?"),
        ("evidnce.max_querys=3", "evidnce is not a known key", "Did you mean evidence.max_queries?"),
        ("training.zzz=3", "training.zzz is not a known key", "Known keys: training.epochs, "),
        ("hiden=3", "hiden is not a known key", "Did you mean head.hidden?"),
        ("zzz.yyy=3", "zzz is not a known key", "Known keys: data"),
        ("training.epochs=0", "training.epochs: 0 should be greater than or equal to 1", "config show"),
        ("model.taps=late", 'model.taps: "late" is none of entry, middle or output', "config show"),
        ("head.optimizer=adam", 'head.optimizer: "adam" is none of sgd, momentum or novograd', "config show"),
        ("head.momentum=1", "head.momentum: 1 should be less than or equal to 0.9921875", "config show"),
        ("head.momentum=0", "head.momentum: 0 should be greater than or equal to 0.0078125", "config show"),
        ("head.beta2=0.999", "head.beta2: 0.999 should be less than or equal to 0.99", "config show"),
        ("training.learning_rate=.inf", "should be a finite number", ""),
        ("training.learning_rate=.nan", "should be", ""),
        ("data=4", "data: 4 should be keys of its own", ""),
        ("security.required_code=[abc]", 'security.required_code.0: "abc" should', "config show"),
        ("security.required_image=sha256:x", 'security.required_image: "sha256:x" should be a valid tuple', ""),
        ("seed.x=4", "seed holds a value", ""),
        ("training.batch=100000", "training.batch must not exceed", ""),
        ("nothing", '"nothing" is not KEY=VALUE', "--set training.epochs=10"),
        ("a..b=1", "is not KEY=VALUE", ""),
        ("seed=[1", "line 1", ""),
        ("seed=2026-13-45", '"2026-13-45" should be a valid integer', ""),
        ("seed=" + "9" * 5000, "this number is too long", ""),
        ("seed=" + "[" * 1100, "nested more than 16 deep", ""),
        ("seed=!!python/name:os.system", "tags are not allowed", ""),
        ("name=&a [*a]", "anchors and aliases are not allowed", ""),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(setting: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_experiment("smoke", [setting])
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 1\nseed: 2\n", 'line 2: the key "seed" stands twice'),
        (b"training:\n  epochs: 1\n  epochs: 2\n", "line 3"),
        (b"seed: 1\n  name: x\n", "line 2"),
        (b"- 1\n", "no `key: value` lines"),
        (b"3: 1\n", 'the key "3" is not text'),
        (b"\xff\xfe", "not UTF-8"),
        (b"seed: \x00", "not YAML"),
        (b"#" * (MAX_BYTES + 1), "longer than"),
        (b"bogus: 1\nother: 2\nseed: x\n", 'seed: "x" should be a valid integer'),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert message in caught.value.message
    assert "wrong.yaml" in caught.value.message


def test_an_absent_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match='no experiment "quickstrat"') as caught:
        load_experiment("quickstrat")
    assert "quickstart" in caught.value.hint


@pytest.mark.parametrize("role", ROLES)
def test_the_party_files_fit_the_loopback_defaults(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "parties" / role
    written = load_party(folder / "party.yaml", role)
    assert (written.keys, written.runs) == (folder / "keys", folder / "runs")
    monkeypatch.chdir(tmp_path)  # no party file here
    default = load_party(None, role)
    assert default.keys == tmp_path / "parties" / role / "keys"
    # Three people on three machines need longer to start than three processes.
    assert (default.connect_timeout_s, written.connect_timeout_s) == (60, 600)
    same = {"keys": written.keys, "runs": written.runs, "connect_timeout_s": 600}
    assert default.model_copy(update=same) == written


def test_the_party_file_of_a_copied_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "parties/auditor", tmp_path / "auditor", ignore=shutil.ignore_patterns("keys", "runs"))
    folder = tmp_path / "auditor"
    monkeypatch.chdir(folder)
    assert load_party(None, "auditor") == load_party(folder / "party.yaml", "auditor")
    assert load_party(None, "auditor").keys == folder / "keys"
    assert load_party(None, "dealer").keys == folder / "parties/dealer/keys"  # the file is another role's
    own = folder / "parties/auditor"
    own.mkdir(parents=True)
    (own / "party.yaml").write_text("threads: 3\n")
    assert load_party(None, "auditor").threads == 3  # nearer to the role


@pytest.mark.parametrize(
    ("mint_weight", "distillation", "method"), [(1, 0, "amint"), (1, 1, "amint-kd"), (0, 0, "task"), (0, 1, "task-kd")]
)
def test_the_method_says_whether_there_is_a_head(mint_weight: int, distillation: int, method: str) -> None:
    settings = [f"training.mint_weight={mint_weight}", f"training.distillation={distillation}"]
    assert load_experiment("smoke", [*settings, "training.warmup_epochs=1"]).method == method


def test_a_party_file_of_another_role_is_refused() -> None:
    with pytest.raises(UsageError, match="is for the auditor, not for the dealer"):
        load_party(ROOT / "parties/auditor/party.yaml", "dealer")


def test_a_wrong_party_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "party.yaml").write_text("listen: {prot: 1}\n")
    with pytest.raises(UsageError) as caught:
        load_party(tmp_path / "party.yaml", "auditor")
    assert "listen.prot is not a known key" in caught.value.message
    assert "Did you mean listen.port" in caught.value.hint
