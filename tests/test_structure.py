"""The structure of the code: layers of imports, sizes of modules and functions, places of tests, cheap imports."""

import ast
import functools
import graphlib
import io
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
from support import ROOT

import tfalexnet

PACKAGE = ROOT / "tfalexnet"
TESTS = ROOT / "tests"

# Packages and modules of the top level, lowest first; each imports from its own package and from those before it.
PACKAGES = (
    *("io", "networks", "images", "checkpoints", "hub", "caffe_classes", "alexnet", "runtimes", "inference"),
    *("evaluation", "data", "analysis", "figures", "training", "exporters", "tools", "demo", "cli", "__main__"),
)

MODULE_LINES, FUNCTION_LINES = 250, 60  # Without blank lines, comments and docstrings.
TABLES = {"networks/catalog.py"}  # Long because the published networks are.
TEST_LINES = 500

# Tests that mirror no module: of the repository, and of behaviour that several modules of a package share.
TESTS_OF_THE_REPOSITORY = {
    f"test_{name}" for name in ("benchmarks", "converters", "docs", "examples", "kills", "structure")
}
TESTS_OF_SEVERAL_MODULES = {
    *(
        "networks/test_saved_models.py",
        "hub/test_real_weights.py",
        "exporters/test_answers.py",
        "figures/test_texts_fit.py",
    ),
    *(f"checkpoints/formats/test_{name}.py" for name in ("formats", "fuzz", "hostile_files")),
    *(f"training/test_{name}.py" for name in ("fit", "workers")),
}
FOLDERS_OF_NO_PACKAGE = {"examples", "support", "truth"}


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> set[str]:
    """Everything that a file imports, inside functions too, by full name."""
    names = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_imports() -> dict[str, set[str]]:
    """The modules of the package that each module imports, by full names."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}

    def module(name: str) -> str:
        return name if name in paths else name.rpartition(".")[0]

    graph = {
        name: {module(other) for other in imports(path) if other.startswith("tfalexnet.")} - {name}
        for name, path in paths.items()
    }
    return {name: others - {"tfalexnet"} for name, others in graph.items() if name != "tfalexnet"}


def package(module: str) -> str:
    return module.split(".")[1]


@functools.cache
def code_lines(path: Path) -> set[int]:
    """Numbers of the lines that hold code: no blank lines, comments or docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstrings


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_files() -> Iterator[Path]:
    return TESTS.rglob("test_*.py")


test_files.__test__ = False


def test_every_package_has_a_position_in_the_order():
    assert {package(module) for module in module_imports()} == set(PACKAGES)


def test_imports_between_packages_run_downwards():
    upwards = {
        (module, other)
        for module, others in module_imports().items()
        for other in others
        if PACKAGES.index(package(other)) > PACKAGES.index(package(module))
    }
    assert not upwards


def test_modules_do_not_import_each_other_in_a_circle():
    """Neither inside a package nor between packages, imports inside functions included."""
    try:
        list(graphlib.TopologicalSorter(module_imports()).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_module_states_its_job_in_its_first_line():
    for path in package_files():
        first = (ast.get_docstring(parse(path)) or "").splitlines()[:1]
        assert first and len(first[0]) <= 110 and path.stem != "utils", path


def test_a_module_has_no_more_lines_than_can_be_read_at_once():
    sizes = {path.relative_to(PACKAGE).as_posix(): len(code_lines(path)) for path in package_files()}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES and name not in TABLES} == {}


def test_a_function_has_no_more_lines_than_a_screen():
    long = {}
    for path in package_files():
        lines = code_lines(path)
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef):
                size = len(lines & set(range(node.lineno, node.end_lineno + 1)))
                if size > FUNCTION_LINES:
                    long[f"{path.relative_to(PACKAGE)}: {node.name}"] = size
    assert long == {}


def test_lines_are_counted_without_comments_and_docstrings(tmp_path):
    path = tmp_path / "module.py"
    head = '"""Doc."""\n\n# Comment.\nx = (\n    1,\n)\n\n\n'
    path.write_text(head + 'def f():\n    """Doc\n\n    more."""\n    return """a\nb"""\n')
    assert code_lines(path) == {4, 5, 6, 9, 13, 14}


def test_every_test_file_mirrors_a_module():
    """`tests/<package>/test_<module>.py`, or `test_<module>_<behaviour>.py` where a module's tests need more files."""
    strangers = []
    for path in test_files():
        *folders, name = path.relative_to(TESTS).with_suffix("").parts
        if (folders and folders[0] in FOLDERS_OF_NO_PACKAGE) or (not folders and name in TESTS_OF_THE_REPOSITORY):
            continue
        subject = PACKAGE.joinpath(*folders)
        modules = {module.stem for module in subject.glob("*.py")} if subject.is_dir() else set()
        parts = name.removeprefix("test_").split("_")
        if not modules & {"_".join(parts[:end]) for end in range(1, len(parts) + 1)}:
            strangers.append(path.relative_to(TESTS).as_posix())
    assert set(strangers) - TESTS_OF_SEVERAL_MODULES == set()


def test_test_files_are_short_and_have_a_docstring():
    for path in TESTS.rglob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= TEST_LINES, path
        assert ast.get_docstring(parse(path)), path


def test_test_files_share_code_through_support_only():
    names = {path.stem for path in test_files()} | {"conftest"}
    for path in TESTS.rglob("*.py"):
        parts = {part for name in imports(path) for part in name.split(".")}
        assert not parts & names, path


def test_the_lowest_versions_of_the_metadata_are_tested():
    """But for setuptools, Ray, Gradio and the packages of the site, which those tests do not use."""
    allowed = dict(re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', (ROOT / "pyproject.toml").read_text("utf-8")))
    installed = dict(re.findall(r"(?m)^([\w-]+)==([\d.]+)$", (ROOT / ".ci" / "lowest.txt").read_text("utf-8")))
    assert set(allowed) - set(installed) == {"setuptools", "ray", "gradio", "mkdocs-material", "mkdocstrings"}
    for name, version in installed.items():
        assert f"{version}.".startswith(f"{allowed[name]}."), name


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


def test_the_public_names_exist():
    for name in tfalexnet.__all__:
        assert getattr(tfalexnet, name) is not None
    for module in (tfalexnet.analysis, tfalexnet.data, tfalexnet.figures, tfalexnet.training):
        assert module.__all__ and all(getattr(module, name) is not None for name in module.__all__)
    assert set(tfalexnet.__all__) <= set(dir(tfalexnet))
    with pytest.raises(AttributeError, match="nothing"):
        _ = tfalexnet.nothing


def test_another_backend_of_keras_is_an_import_error_that_names_it(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="Expected Keras on TensorFlow. Received: the backend 'torch'"):
        runpy.run_path(str(PACKAGE / "networks" / "layers.py"))
