"""Nothing in the package unpickles or evaluates."""

import ast
from pathlib import Path

import pytest

import amint_mpc

PACKAGE = Path(amint_mpc.__file__).parent
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *(("torch", name) for name in ("load", "save")),
    *(("yaml", name) for name in ("unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader")),
}


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found += [module] if module.split(".")[0] in MODULES else []
                found += [f"{module}.{name.name}" for name in names if (module, name.name) in ATTRIBUTES]
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if (name, attribute) in ATTRIBUTES:
                found.append(f"{name}.{attribute}")
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_neither_unpickles_nor_evaluates(path: Path) -> None:
    assert offences(path.read_text()) == []


SAMPLES = [
    "import pickle",
    "from pickle import loads",
    "eval('1')",
    "import torch\ntorch.load('f')",
    "from torch import load",
    "import yaml\nyaml.load('', Loader=yaml.Loader)",
    "np.load(f, allow_pickle=True)",
]


@pytest.mark.parametrize("source", SAMPLES)
def test_the_scan_finds_what_it_looks_for(source: str) -> None:
    assert offences(source)
