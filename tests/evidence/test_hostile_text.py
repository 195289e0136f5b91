"""Evidence whose text would clear a terminal and print another verdict."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amint_mpc.afterwards.parties import tensors
from amint_mpc.cli import main
from amint_mpc.errors import DataError
from amint_mpc.evidence.files import EXPERIMENT
from tests.evidence.bundles import Bundle

VERDICT = "\x1b[2J\x1b[1;32mthe evidence holds\x1b[0m\u202e"


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, color=True)  # as in a terminal


CHANGES: dict[str, Callable[[Bundle], object]] = {
    "a key of the first entry": lambda bundle: bundle.edit(0, lambda entry: entry.update({VERDICT: 1})),
    "a key within it": lambda bundle: bundle.edit(0, lambda entry: entry["software"].update({VERDICT: 1})),
    "a kind": lambda bundle: bundle.edit(1, lambda entry: entry.update(kind=VERDICT)),
    "a figure": lambda bundle: bundle.edit(bundle.at("checkpoint"), lambda entry: entry.update(figures={VERDICT: "1"})),
    "a key of the statement": lambda bundle: bundle.seal(json.dumps({VERDICT: 1}).encode(), {}),
    "a setting": lambda bundle: bundle.file(EXPERIMENT, lambda raw: raw + f"{json.dumps(VERDICT)}: 1\n".encode()),
    "a name": lambda bundle: bundle.file(EXPERIMENT, lambda raw: f"name: {json.dumps(VERDICT)}\n".encode()),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_verdict_but_ours_is_printed(name: str, as_json: bool, bundle: Bundle) -> None:
    CHANGES[name](bundle)
    found = ran("verify", str(bundle.path), *(["--json"] if as_json else []))
    assert found.exit_code in (2, 6)
    assert "\x1b[2J" not in found.output
    assert "\u202e" not in found.output
    assert "\nthe evidence holds" not in found.output
    if found.stdout:
        assert json.loads(found.stdout)["holds"] is False


def test_a_key_of_a_proof(bundle: Bundle, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    for value in ({VERDICT: 1}, {"version": 1, "proof": {VERDICT: 1}}, {"proof": {"claim": VERDICT}}):
        proof.write_text(json.dumps(value))
        found = ran("evidence", "check", str(proof), "--run", str(bundle.path))
        assert found.exit_code == 6
        assert "\x1b[2J" not in found.output
        assert "\u202e" not in found.output


def test_a_file_of_tensors_that_names_a_type_of_its_own(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": VERDICT, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "head.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(DataError) as caught:
        tensors(tmp_path / "head.safetensors")
    assert "the evidence holds" in caught.value.message  # the library repeats it
    assert caught.value.message.isprintable()
