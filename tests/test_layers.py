"""Imports point one way, and no file outgrows its reader."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nanoldm

TESTS = Path(__file__).parent
SOURCE = Path(nanoldm.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
BOTTOM = ("models", "diffusion", "data", "training", "metrics")         # packages that never import each other
SHARED = {"nanoldm.errors", "nanoldm.seeding", "nanoldm.files", "nanoldm.paths", "nanoldm.limits", "nanoldm.terminal",
          "nanoldm.atomic", "nanoldm.text"}


def module_name(file: Path) -> str:
    return ".".join(("nanoldm", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}


@cache
def imports(file: Path) -> frozenset[str]:
    """Every module that a file imports, at the top or inside a function, under its full name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {node.module}           # from package import submodule
    return frozenset(found)


def ours(file: Path) -> set[str]:
    return {name for name in imports(file) if name.split(".")[0] == "nanoldm"}


def theirs(file: Path) -> set[str]:
    """Packages from outside, without the standard library."""
    return {name.split(".")[0] for name in imports(file)} - {"nanoldm"} - sys.stdlib_module_names


def below(package: str) -> list[Path]:
    return [file for file in FILES if file.relative_to(SOURCE).parts[0] == package]


def test_the_reader_of_imports_sees_them_all():
    """Otherwise every other test here would pass on an empty set."""
    assert "nanoldm.files" in imports(SOURCE / "training" / "checkpoint.py")
    assert "nanoldm.pictures" in imports(SOURCE / "train.py")                                           # from nanoldm import pictures
    assert "torchvision" in theirs(SOURCE / "data" / "vision.py")                                       # inside a function
    assert len(below("models")) > 3
    assert {"nanoldm", "nanoldm.cli", "nanoldm.data", "nanoldm.data.mnist"} <= MODULES.keys()


@pytest.mark.parametrize("package", [package for package in BOTTOM if below(package)])
def test_the_packages_at_the_bottom_import_neither_each_other_nor_anything_above(package):
    for file in below(package):
        foreign = {name for name in ours(file) if name.split(".")[1:2] != [package]}
        assert foreign <= SHARED, file


def test_what_they_share_stands_on_nothing_but_errors_and_paths():
    for name in SHARED:
        assert ours(MODULES[name]) <= {"nanoldm.errors", "nanoldm.paths", "nanoldm.atomic"}
    assert not ours(MODULES["nanoldm.errors"])


def test_no_module_imports_itself_by_a_detour():
    """An order in which each stands on earlier ones alone exists only where no arrow goes back up."""
    order = TopologicalSorter({name: ours(file) - {name} for name, file in MODULES.items()}).static_order()
    assert set(order) >= MODULES.keys()


def closure(name: str) -> set[str]:
    """Every module of ours that importing `name` can bring in, at once or later."""
    seen, left = set(), {name}
    while left:
        seen |= left
        left = {other for module in left for other in ours(MODULES[module])} - seen
    return seen


def test_no_feature_network_can_enter_a_training_loss():
    judges = ("nanoldm.metrics", "nanoldm.features", "nanoldm.feature_training", "nanoldm.judge")
    assert "nanoldm.metrics.network" in closure("nanoldm.evaluate")
    for module in ("nanoldm.train", "nanoldm.stages", "nanoldm.training", "nanoldm.diffusion", "nanoldm.models"):
        assert not [name for name in closure(module) if name.startswith(judges)], module


def test_the_mathematics_imports_torch_and_errors_alone():
    for file in below("diffusion"):
        assert theirs(file) <= {"torch"}, file
        assert {name for name in ours(file) if not name.startswith("nanoldm.diffusion")} <= {"nanoldm.errors"}, file


def test_networks_import_torch_alone():
    for file in below("models"):
        assert theirs(file) <= {"torch"}, file


def test_nothing_reads_or_writes_pickle():
    for file in FILES:
        assert "pickle" not in imports(file), file
        assert not any(word in file.read_text(encoding="utf-8") for word in ("torch.save(", "torch.load(", "allow_pickle=True")), file


def test_configuration_and_command_line_do_not_wait_for_torch():
    check = ("import sys, nanoldm, nanoldm.cli, nanoldm.overrides, nanoldm.listing, nanoldm.options;"
             "print(sorted({'torch', 'torchvision', 'numpy'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", nanoldm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(nanoldm, name) is not None
    assert name in dir(nanoldm)


def test_an_unknown_public_name_is_an_attribute_error():
    assert not hasattr(nanoldm, "Autoencodr")


def test_no_file_is_longer_than_about_200_lines():
    lengths = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in (*FILES, *TESTS.rglob("*.py"))}
    assert len(lengths) > 40
    assert {file: length for file, length in lengths.items() if length > 220} == {}
