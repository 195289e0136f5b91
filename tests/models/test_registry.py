"""Backbones that are not ours: registered by a program, or offered by an installed package."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from amint_mpc.cli import main
from amint_mpc.config import Experiment, Model, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.models import (
    BACKBONES,
    BackboneSpec,
    StagedBackbone,
    Taps,
    build_classifier,
    check_backbone,
    feature_count,
    register_backbone,
)
from amint_mpc.roles.heads import check_experiment

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_backbone.py"
MODULE = """
from torch import nn
from amint_mpc.models import BackboneSpec, StagedBackbone, register_backbone

@register_backbone("strangers", width=4)
class Strangers(StagedBackbone):
    def __init__(self, spec: BackboneSpec) -> None:
        stages = [nn.Conv2d(spec.shape[0], spec.width, 3), *(nn.Conv2d(spec.width, spec.width, 3) for _ in range(5))]
        super().__init__(spec, stages, nn.Linear(spec.width, spec.classes))
"""


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """As it was before."""
    before = dict(BACKBONES)
    yield
    BACKBONES.clear()
    BACKBONES.update(before)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package as pip leaves it: its module beside a dist-info folder with its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, code in (("good", MODULE), ("other", "VALUE = 3"), ("broken", "raise RuntimeError('no licence')")):
        (tmp_path / f"strange_{name}.py").write_text(code)
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[amint_mpc.backbones]\nstrangers = strange_good\nresnet50 = strange_broken\n"
        "absent = strange_other\nbroken = strange_broken\n"
    )
    yield
    for name in ("good", "other", "broken"):
        sys.modules.pop(f"strange_{name}", None)


class Two(StagedBackbone):
    pairs: ClassVar[Mapping[Taps, tuple[int, int]]] = {"entry": (0, 1)}
    smallest = 8

    def __init__(self, spec: BackboneSpec) -> None:
        stages = [nn.Conv2d(spec.shape[0], spec.width, 3), nn.Conv2d(spec.width, spec.width, 3)]
        super().__init__(spec, stages, nn.Linear(spec.width, spec.classes))


def test_a_registered_class_is_built_with_its_usual_width() -> None:
    register_backbone("two", width=6, small=3)(Two)
    for model, width in ((Model(backbone="two", taps="entry"), 6), (Model(backbone="two", taps="entry", width=5), 5)):
        assert feature_count(Experiment(model=model), (1, 28, 28)) == 4 * width
    small = Experiment(model=Model(backbone="two", taps="entry", size="small"))
    assert build_classifier(small, (3, 9, 9), 4)(torch.rand(2, 3, 9, 9))[0].shape == (2, 4)


def test_what_it_lacks_is_refused_with_what_it_has() -> None:
    register_backbone("two", width=6)(Two)
    for model, shape, message, hint in (
        (Model(backbone="two"), (1, 28, 28), "the backbone 'two' has no taps 'middle'", "Its taps: entry."),
        (Model(backbone="two", taps="entry", size="small"), (1, 28, 28), "has no size 'small'", "Its sizes: full."),
        (Model(backbone="two", taps="entry"), (1, 28, 7), "two: images of 28 x 7 pixels are too small", "8 x 8"),
    ):
        with pytest.raises(UsageError, match=message) as raised:
            check_backbone(model, shape)
        assert hint in raised.value.hint


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="there is a backbone 'resnet50' already"):
        register_backbone("resnet50", width=1)(Two)


@pytest.mark.usefixtures("install")
def test_an_installed_package_offers_a_backbone_by_name() -> None:
    assert "strange_good" not in sys.modules
    settings = load_experiment("smoke", ["model.backbone=strangers", "model.width=null"])
    check_experiment(settings)
    assert feature_count(settings, (1, 28, 28)) == 2 * 2 * 4
    assert "strange_broken" not in sys.modules  # what nobody named


@pytest.mark.usefixtures("install")
def test_a_package_cannot_take_a_name_of_ours() -> None:
    check_backbone(Model(backbone="resnet50"), (1, 28, 28))
    assert BACKBONES["resnet50"].make.__module__ == "amint_mpc.models.resnet"


@pytest.mark.usefixtures("install")
def test_a_package_that_fails_is_named() -> None:
    with pytest.raises(UsageError, match="'broken' of the package strange cannot be loaded: no licence"):
        check_backbone(Model(backbone="broken"), (1, 28, 28))
    with pytest.raises(UsageError, match="offers a backbone 'absent' and then registers none") as raised:
        check_backbone(Model(backbone="absent"), (1, 28, 28))
    assert "strange_other" in raised.value.hint


@pytest.mark.usefixtures("install")
def test_an_unknown_name_lists_the_packages_backbones_too() -> None:
    with pytest.raises(UsageError, match="no backbone 'vgg'") as raised:
        check_backbone(Model(backbone="vgg"), (1, 28, 28))
    assert "absent, broken, densenet121" in raised.value.hint
    assert "strangers, vit, xception" in raised.value.hint


@pytest.mark.parametrize("name", ["os.system", "strange_good:Strangers", "amint_mpc.models.resnet"])
def test_a_dotted_path_is_only_a_name_that_nobody_has(name: str) -> None:
    with pytest.raises(UsageError, match="there is no backbone"):
        check_backbone(Model(backbone=name), (1, 28, 28))


def test_the_example_trains(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE), run_name="example")
    changes = ["--set", "model.backbone=three-stages", "--set", "training.epochs=1"]
    done = CliRunner().invoke(main, ["train", "--config", "smoke", "--runs", str(tmp_path), *changes])
    assert done.exit_code == 0, done.output
    assert "accuracy, unseen images" in done.output
