"""The documentation: links lead somewhere, commands and Python snippets match the package, paths of modules exist."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.command import parse

import tfalexnet
from tfalexnet.checkpoints.checkpoint import FORMATS
from tfalexnet.cli.main import COMMANDS, cli
from tfalexnet.exporters.export import EXPORTERS
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.training.recipes import RECIPES

PACKAGE = ROOT / "tfalexnet"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/*.md", "weights/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [code for name, code in FENCE.findall(read(page)) if name == language]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: str) -> Iterator[list[str]]:
    """The command lines of `tfalexnet` on a page, in blocks and in sentences, with all their arguments."""
    lines = [line.split("  #")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    lines += [code for code in INLINE.findall(FENCE.sub("", read(page))) if " -" in code or len(code.split()) > 2]
    for line in lines:
        for part in re.split(r"&&", line):
            words = shlex.split(part)
            if words and words[0].rpartition("/")[2] == "tfalexnet" and not {"…", "..."} & set(part):
                yield words[1:]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in re.findall(r"\]\(([^):]+)\)|src=\"([^\":]+)\"", read(page)):
        target, _, anchor = "".join(link).partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/\w[\w-]*\.md)", read("README.md")))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_accepted_by_the_command_line(page):
    for words in commands(page):
        name, *arguments = words
        if name.startswith("-") or name == "COMMAND":
            continue
        assert name in COMMANDS, words
        try:
            parse(name, *arguments)
        except click.exceptions.Exit as request:
            assert request.exit_code == 0
        except click.UsageError as error:
            pytest.fail(f"tfalexnet {shlex.join(words)}: {error.format_message()}")


def test_commands_are_found_on_pages():
    assert ["predict", "examples/chelsea.png", "--weights", "cifar10"] in list(commands("README.md"))
    assert ["convert", "mine.weights.h5", "--architecture", "bvlc_alexnet", "--labels", "names.txt"] in list(
        commands("docs/training.md")
    )


def test_the_reference_lists_every_flag_of_every_command():
    word = r"[a-z][a-z0-9-]*"
    usages = re.findall(rf"^tfalexnet ({word}(?: {word})?)(.*(?:\n {{4,}}.*)*)", read("docs/command-line.md"), re.M)
    known = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
    groups = {name: known.pop(name) for name in COMMANDS if isinstance(known[name], click.Group)}
    known |= {f"{group} {name}": command for group in groups for name, command in groups[group].commands.items()}
    for name, usage in usages:
        options = {option for parameter in known[name].params for option in parameter.opts if option.startswith("--")}
        assert set(re.findall(r"--[\w-]+", usage)) == options, name
    assert {name for name, _ in usages} == set(known)


@pytest.mark.parametrize("page", PAGES)
def test_python_snippets_use_names_that_exist(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tfalexnet":
                assert hasattr(tfalexnet, node.attr), node.attr
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("tfalexnet"):
                module = __import__(node.module, fromlist=[alias.name for alias in node.names])
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_the_figure_of_the_filters_is_what_its_snippet_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [snippet] = [code for code in blocks("docs/networks.md", "python") if "conv1.png" in code]
    exec(snippet, {})
    with Image.open("conv1.png") as drawn, Image.open(ROOT / "docs" / "images" / "cifar10_conv1.png") as committed:
        assert np.array_equal(drawn, committed)


LISTS = {
    "docs/networks.md": ARCHITECTURES,
    "docs/weights.md": REGISTRY,
    "weights/README.md": REGISTRY,
    "docs/formats.md": FORMATS,
    "docs/training.md": RECIPES,
}


@pytest.mark.parametrize("page", LISTS)
def test_a_page_lists_every_name(page):
    codes = INLINE.findall(read(page))
    assert [name for name in LISTS[page] if name not in codes] == []


def test_the_page_on_export_has_a_command_for_every_format():
    formats = {parse(*words)["format"] for words in commands("docs/export.md") if words[0] == "export"}
    assert formats == set(EXPORTERS)


def test_every_public_name_is_in_the_reference():
    text = read("docs/python.md")
    assert [name for name in tfalexnet.__all__ if f"`{name}" not in text] == []


def test_paths_in_the_architecture_page_exist():
    """Modules without their suffix, and files; not the patterns with <…>, nor names without a folder."""
    codes = INLINE.findall(read("docs/architecture.md"))
    paths = {code for code in codes if re.fullmatch(r"[a-z_]+/[\w/]*(\.\w+)?", code)}
    candidates = {path: [top / f"{path}{end}" for top in (ROOT, PACKAGE) for end in ("", ".py")] for path in paths}
    assert {path for path, files in candidates.items() if not any(file.exists() for file in files)} == set()
    assert {"cli/main.py", "hub/cache", "tests/support/fuzz_seeds.py"} <= paths


def test_tables_in_the_architecture_page_name_constants_that_exist():
    for names, path in re.findall(r"((?:`[A-Z_]+`(?:, )?)+)[^|`]* in `([\w/]+\.py)`", read("docs/architecture.md")):
        source = (PACKAGE / path).read_text("utf-8")
        for name in re.findall(r"[A-Z_]+", names):
            assert re.search(rf"^{name}\b", source, re.M), f"{name} in {path}"


def test_the_site_has_an_address_for_each_page_and_no_dead_link(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    index = json.loads((tmp_path / "search" / "search_index.json").read_text("utf-8"))
    pages = [entry["location"] for entry in index["docs"] if "#" not in entry["location"]]
    assert len(pages) == len(set(pages)) > 20
    dead = []
    for page in tmp_path.rglob("index.html"):
        html = page.read_text("utf-8")
        for target in re.findall(r'(?:src|href)="([^"#?:]+)(?=["#?])', html):
            path = tmp_path / target[1:] if target.startswith("/") else page.parent / target
            if not path.exists():
                dead.append((page.relative_to(tmp_path).as_posix(), target))
    assert dead == []
