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
FILES = sorted(f for f in SOURCE.rglob("*.py") if "bundled" not in f.parts)  # models are data
LAYERS = (("cli",), ("evaluation", "editing", "experiments", "page"), ("pipeline",),
          ("models", "diffusion", "data", "training"), ("utils",))


def module_name(file: Path) -> str:
    return ".".join(("nanoldm",
                     *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


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
            found |= (names & MODULES.keys()) or {node.module}  # from package import submodule
    return frozenset(found)


def ours(file: Path) -> set[str]:
    return {name for name in imports(file) if name.split(".")[0] == "nanoldm"}


def theirs(file: Path) -> set[str]:
    """Packages from outside, without the standard library."""
    return {name.split(".")[0] for name in imports(file)} - {"nanoldm"} - sys.stdlib_module_names


def package(name: str) -> str:
    """nanoldm.data.mnist -> data; the package itself, which holds names alone, is none."""
    return ".".join(name.split(".")[1:2])


def below(package: str) -> list[Path]:
    return [file for file in FILES if file.relative_to(SOURCE).parts[0] == package]


def arrows() -> set[tuple[str, str]]:
    """(module, module of another package that it imports)."""
    pairs = {(name, other) for name, file in MODULES.items() for other in ours(file)}
    return {(name, other) for name, other in pairs
            if package(name) and package(other) and package(name) != package(other)}


def test_the_reader_of_imports_sees_them_all():
    """Otherwise every other test here would pass on an empty set."""
    assert "nanoldm.utils.files" in imports(SOURCE / "training" / "checkpoint.py")
    # from nanoldm.utils import images
    assert "nanoldm.utils.images" in imports(SOURCE / "experiments" / "previews.py")
    assert "torchvision" in theirs(SOURCE / "data" / "vision.py")  # inside a function
    assert len(below("models")) > 3
    assert {"nanoldm", "nanoldm.cli.main", "nanoldm.data", "nanoldm.data.mnist"} <= MODULES.keys()


def test_every_module_is_in_a_known_package():
    packages = {package(name) for name in MODULES} - {""}
    assert packages - {"__main__"} == {name for layer in LAYERS for name in layer}


def test_imports_go_down_and_packages_of_one_layer_never_import_each_other():
    layer = {name: number
             for number, names in enumerate(LAYERS) for name in names} | {"__main__": -1}
    wrong = {(name, other) for name, other in arrows()
             if layer[package(other)] <= layer[package(name)]}
    assert wrong == set()


def test_no_module_imports_itself_by_a_detour():
    """An order in which each stands on earlier ones alone exists only where no arrow goes back up.
    """
    order = TopologicalSorter({name: ours(file) - {name}
                               for name, file in MODULES.items()}).static_order()
    assert set(order) >= MODULES.keys()


def closure(name: str) -> set[str]:
    """Every module of ours that importing `name` can bring in, at once or later."""
    seen, left = set(), {name}
    while left:
        seen |= left
        left = {other for module in left for other in ours(MODULES[module])} - seen
    return seen


def test_no_feature_network_can_enter_a_training_loss():
    judges = ("nanoldm.evaluation",)
    assert "nanoldm.evaluation.metrics.feature_net" in closure("nanoldm.evaluation.evaluate")
    for module in ("nanoldm.experiments.train", "nanoldm.experiments.stages", "nanoldm.training",
                   "nanoldm.diffusion", "nanoldm.models"):
        assert not [name for name in closure(module) if name.startswith(judges)], module


def test_the_mathematics_imports_torch_and_errors_alone():
    for file in below("diffusion"):
        assert theirs(file) <= {"torch"}, file
        assert {name for name in ours(file)
                if not name.startswith("nanoldm.diffusion")} <= {"nanoldm.utils.errors"}, file


def test_networks_import_torch_alone():
    for file in below("models"):
        assert theirs(file) <= {"torch"}, file


def test_nothing_reads_or_writes_pickle():
    for file in FILES:
        assert "pickle" not in imports(file), file
        assert not any(word in file.read_text(encoding="utf-8")
                       for word in ("torch.save(", "torch.load(", "allow_pickle=True")), file


def test_configuration_and_command_line_do_not_wait_for_torch():
    check = ("import sys, nanoldm, nanoldm.cli.main, nanoldm.cli.train, nanoldm.cli.edit, "
             "nanoldm.cli.measure, nanoldm.cli.recipes;print(sorted({'torch', 'torchvision', "
             "'numpy'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", nanoldm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(nanoldm, name) is not None
    assert name in dir(nanoldm)


def test_an_unknown_public_name_is_an_attribute_error():
    assert not hasattr(nanoldm, "Autoencodr")


def test_no_file_is_longer_than_250_lines():
    lengths = {str(file): len(file.read_text(encoding="utf-8").splitlines())
               for file in (*FILES, *TESTS.rglob("*.py"))}
    assert len(lengths) > 40
    assert {file: length for file, length in lengths.items() if length > 250} == {}


# function -> why it is longer than 40 lines, or has more than 7 arguments
EXCEPTIONS = {
    "nanoldm.training.loop.fit": "its arguments are the parts of a training step",
    "nanoldm.experiments.batches.latent_batches": "a batch is a pure function of all of them",
    "nanoldm.experiments.run_stage.run_stage": "one loop, which is read from top to bottom",
}


def functions() -> dict[str, tuple[int, int]]:
    """Name -> (lines, arguments) of every function of the package; the most of equal names."""
    found = {}
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
                size = (node.end_lineno - node.lineno + 1, arguments)
                key = f"{name}.{node.name}"
                found[key] = tuple(map(max, size, found.get(key, size)))  # methods share names
    return found


def test_functions_fit_on_a_screen_and_have_few_arguments():
    sizes = functions()
    assert len(sizes) > 300
    large = {name for name, (lines, arguments) in sizes.items() if lines > 40 or arguments > 7}
    assert large == set(EXCEPTIONS)
