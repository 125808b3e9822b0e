"""The house keeps its order: imports run downwards, and importing it costs little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tfalexnet

PACKAGE = Path(tfalexnet.__file__).parent

# Each floor may import from those before it, never from its own or a later one.
FLOORS = [
    {"files", "tables", "resizing", "processors", "arguments", "decoding"},
    {"architectures", "preprocessing", "augmentation", "classes", "formats", "progress", "journal", "figures"},
    {"layers", "outputs", "download", "caffe_classes", "pictures", "fitting"},
    {"model", "checkpoints", "sources"},
    {"towers", "frozen", "weights"},
    {"exports"},
    {"alexnet", "inference", "comparison", "conversion", "exporting"},
    {"prediction", "activations", "compression", "evaluation", "verification", "data", "training"},
    {"labelling", "logbook", "distribution"},
    {"learning"},
    {"runs"},
    {"__main__", "__init__"},
]
KERAS_FREE = {
    "outputs",
    "labelling",
    "download",
    "pictures",
    "fitting",
    "weights",
    "checkpoints",
    "conversion",
    "comparison",
}
KERAS_FREE |= FLOORS[0] | FLOORS[1]


# What lies on the way from a photo to an exported file's answer; TensorFlow takes seconds to import.
PROMPT = KERAS_FREE | {"inference", "exports", "prediction", "evaluation", "arguments", "__init__", "__main__"}


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
    """What each module, or subpackage, of the package imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found.setdefault(name, set()).update(imports(path))
    return found


def test_every_module_has_a_floor():
    assert set(modules()) == set().union(*FLOORS)


def test_imports_run_downwards():
    for name, imported in modules().items():
        own = {other.split(".")[1] for other in imported if other.startswith("tfalexnet.")} - {name, "__version__"}
        below = set().union(*FLOORS[: next(i for i, floor in enumerate(FLOORS) if name in floor)])
        assert own <= below, f"{name} imports {own - below}"


def test_the_lower_floors_know_no_keras():
    for name, imported in modules().items():
        if name in KERAS_FREE:
            assert not {other for other in imported if other.split(".")[0] == "keras"}, name


def test_what_is_to_be_prompt_imports_no_tensorflow():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in PROMPT:
            found = {name.split(".")[0] for name in imports(path, inside=False)}
            assert found.isdisjoint({"tensorflow", "keras"}), path


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
        "from tfalexnet import weights, convert",
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
    code = "import keras; keras.config.backend = lambda: 'torch'; import tfalexnet.layers"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert "ImportError: Expected Keras on TensorFlow. Received: the backend 'torch'" in run.stderr
