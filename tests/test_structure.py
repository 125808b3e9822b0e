"""The house keeps its order: imports run downwards, and importing it costs little."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import tfalexnet

PACKAGE = Path(tfalexnet.__file__).parent

# Packages, lowest first; each may import from those before it and from its own, without a circle.
PACKAGES = (
    *("io", "networks", "images", "checkpoints", "hub", "caffe_classes", "alexnet", "runtimes", "inference"),
    *("evaluation", "data", "figures", "training", "exporters", "tools", "cli", "__main__"),
)


def imports(path: Path, inside: bool = True) -> set[str]:
    """Everything that a file imports, by full name; without `inside`, of functions and conditions."""
    found, tree = set(), ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> dict[str, set[str]]:
    """What each module of the package imports of the package, by full names."""
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}

    def module(name: str) -> str:
        return name if name in paths else name.rpartition(".")[0]

    found = {
        name: {module(other) for other in imports(path) if other.startswith("tfalexnet.")} - {name}
        for name, path in paths.items()
    }
    return {name: {other for other in others if other != "tfalexnet"} for name, others in found.items()}


def package(name: str) -> str:
    return name.split(".")[1]


def test_every_package_has_a_floor():
    assert {package(name) for name in modules() if name != "tfalexnet"} == set(PACKAGES)


def test_imports_between_packages_run_downwards():
    for name, imported in modules().items():
        if name != "tfalexnet":
            floor = PACKAGES.index(package(name))
            above = {other for other in imported if PACKAGES.index(package(other)) > floor}
            assert not above, f"{name} imports {above}"


def test_no_modules_import_each_other_in_a_circle():
    graph = modules()
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_module_says_its_job_in_its_first_line():
    for path in PACKAGE.rglob("*.py"):
        first = ast.get_docstring(ast.parse(path.read_text("utf-8"))).splitlines()[0]
        assert len(first) < 100 and path.stem != "utils"


@pytest.mark.parametrize(
    "code",
    [
        "import tfalexnet",
        "import tfalexnet; tfalexnet.ARCHITECTURES",
        "from tfalexnet.caffe_classes import class_names",
        "from tfalexnet import convert",
    ],
)
def test_importing_does_not_import_tensorflow(code):
    check = f"{code}\nimport sys; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_the_public_names_are_there():
    for name in tfalexnet.__all__:
        assert getattr(tfalexnet, name) is not None
    assert set(tfalexnet.__all__) <= set(dir(tfalexnet))
    with pytest.raises(AttributeError, match="nothing"):
        _ = tfalexnet.nothing


def test_another_backend_of_keras_is_named_with_the_way_out():
    code = "import keras; keras.config.backend = lambda: 'torch'; import tfalexnet.networks.layers"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert "ImportError: Expected Keras on TensorFlow. Received: the backend 'torch'" in run.stderr
