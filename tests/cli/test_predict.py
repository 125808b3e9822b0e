"""The command `predict`: its table, JSON and files of rows, and pictures that cannot be read."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.command import run, run_process


def test_a_process_prints_a_table_and_no_logs_of_libraries(photo):
    result = run_process("predict", photo, "--weights", "cifar10", "--top", 3)
    assert (result.returncode, result.stderr) == (0, "")
    name, *rows = result.stdout.splitlines()
    assert name == str(photo) and len(rows) == 3
    assert rows[0].split()[-1] == "cat" and "%" in rows[0] and "█" in rows[0]


def test_a_bad_file_is_one_line_and_the_others_are_answered(photo, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    bad = [tmp_path / name for name in ("text.jpg", "empty.png", "none.jpg", "folder", "no*.jpg")]
    result = run(capsys, "predict", photo, *bad, photo, "--weights", "cifar10", "--json")
    assert result.returncode == 1
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(photo)] * 2
    assert answers[0]["predictions"][0]["label"] == "cat"
    errors = result.stderr.splitlines()
    assert len(errors) == len(bad)
    for path in bad:
        assert sum(error.startswith("tfalexnet: ") and str(path) in error for error in errors) == 1


def test_a_folder_is_labelled_into_a_file(photo, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.png").write_bytes(photo.read_bytes())
    (tmp_path / "photos" / "a.jpg").write_text("not a picture")
    arguments = ("predict", "photos", "--weights", "cifar10", "--output", "labels.jsonl")
    result = run(capsys, *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == "2 files, 1 of them unreadable, with the reasons in `error`: labels.jsonl\n"
    bad, good = map(json.loads, (tmp_path / "labels.jsonl").read_text("utf-8").splitlines())
    assert bad == {"file": "photos/a.jpg", "error": "not a picture in a format that is read"}
    assert good["file"] == "photos/b.png" and good["predictions"][0]["label"] == "cat"
    again = run(capsys, *arguments, cwd=tmp_path)
    assert again.returncode == 1 and "labels.jsonl" in again.stderr
    pattern = run(capsys, "predict", "photos/*.png", "--weights", "cifar10", cwd=tmp_path)
    assert pattern.stdout.startswith("photos/b.png\n")


def test_hostile_files_and_a_folder_that_cannot_be_read_are_a_row_each(photo, tmp_path, capsys, monkeypatch):
    (tmp_path / "photos" / "closed").mkdir(parents=True)
    (tmp_path / "photos" / "good.png").write_bytes(photo.read_bytes())
    (tmp_path / "photos" / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "photos" / "pipe.jpg")
    (tmp_path / "photos" / "script.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    Image.new("1", (3000, 1000)).save(tmp_path / "photos" / "large.png")
    scandir = os.scandir

    def refused(folder):
        if os.fspath(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    arguments = ("photos", "--weights", "cifar10", "--output", "labels.jsonl", "--max-pixels", 2_999_999)
    result = run(capsys, "predict", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (
        1,
        "6 files, 5 of them unreadable, with the reasons in `error`: labels.jsonl\n",
    )
    rows = map(json.loads, (tmp_path / "labels.jsonl").read_text("utf-8").splitlines())
    assert {row["file"].removeprefix("photos/"): row.get("error") for row in rows} == {
        "closed": "permission denied",
        "good.png": None,
        "large.png": "expected at most 2999999 pixels (max_pixels); received 3000×1000",
        "pipe.jpg": "is a device or a pipe, not a file",
        "script.jpg": "not a picture in a format that is read",
        "zero.jpg": "is a device or a pipe, not a file",
    }


@pytest.mark.data
def test_hard_pictures_are_an_answer_or_one_line(data):
    """In a process, whose stderr the decoders' C libraries may write to."""
    pictures = sorted(path for path in (data / "hard").rglob("*") if path.is_file() and path.suffix != ".tsv")
    result = run_process("predict", *pictures, "--weights", "cifar10", "--json")
    answered = [json.loads(line)["file"] for line in result.stdout.splitlines()]
    errors = result.stderr.splitlines()
    assert len(answered) + len(errors) == len(pictures) == 124
    assert all(line.startswith("tfalexnet: ") for line in errors)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--overwrite"], "tfalexnet: --overwrite requires --output\n"),
        (["--json", "--output", "a.jsonl"], "tfalexnet: Expected --json for the terminal, or --output FILE.jsonl."),
    ],
)
def test_flags_that_contradict_are_refused(flags, message, tmp_path, capsys):
    result = run(capsys, "predict", "a.jpg", "--weights", "cifar10", *flags, cwd=tmp_path)
    assert result.returncode == 1 and result.stderr.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_json_is_valid_in_a_terminal_without_unicode(weights_file, photo):
    name = "größe.png"
    shutil.copy(photo, name)
    result = run_process("predict", name, "--weights", weights_file, "--json", PYTHONIOENCODING="ascii")
    assert json.loads(result.stdout)["file"] == name and result.stdout.isascii()


def test_missing_photos_are_reported_before_weights_are_looked_for(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tfalexnet.inference.predict.find_weights", lambda _: pytest.fail("weights were looked for"))
    os.mkdir("empty")
    status, out, err = run(capsys, "predict", "a.jpg", "empty", "*.png", "b.jpg")
    assert (status, out) == (1, "")
    for line in ("a.jpg: no such file", "empty: expected pictures", "'*.png', which none does", "b.jpg: no such file"):
        assert line in err


def test_names_are_read_from_a_file_and_standard_input(weights_file, photo, capsys, monkeypatch):
    shutil.copy(photo, "b.png")
    Path("names.txt").write_bytes(b"b.png\r\n\n" + os.fsencode(photo) + b"\n")
    arguments = ("predict", "--weights", weights_file, "--json", "--files-from")
    answers = run(capsys, *arguments, "names.txt").stdout.splitlines()
    assert [json.loads(answer)["file"] for answer in answers] == ["b.png", str(photo)]
    with Path("names.txt").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        result = run(capsys, *arguments, "-", "--json", "b.png")
    assert [json.loads(answer)["file"] for answer in result.stdout.splitlines()] == ["b.png", "b.png", str(photo)]
    result = run(capsys, *arguments[:-2], "--files-from", "names.txt", "--output", "labels.jsonl")
    assert result.stdout == "2 files, 0 of them unreadable: labels.jsonl\n"
    Path("names.txt").write_text("\n")
    assert "names.txt: expected the name of a photo on each line" in run(capsys, *arguments, "names.txt").stderr


def test_a_photo_is_read_from_standard_input(weights_file, photo, capsys, monkeypatch):
    arguments = ("predict", "-", "--weights", weights_file)
    with photo.open() as content:
        monkeypatch.setattr(sys, "stdin", content)
        from_input = run(capsys, *arguments).stdout.splitlines()
    from_file = run(capsys, "predict", photo, "--weights", weights_file).stdout.splitlines()
    assert from_input == ["-", *from_file[1:]]
    for more in (("--output", "labels.jsonl"), ("--files-from", "-")):
        result = run(capsys, *arguments, *more)
        assert result.returncode == 1 and "Expected one photo on standard input (-) without --output" in result.stderr
    assert run(capsys, "predict", "--weights", weights_file).returncode == 2


@pytest.mark.parametrize("more", [(), ("--output", "labels.jsonl")])
def test_an_address_is_refused_with_a_way_out(more, weights_file, capsys):
    for address in ("https://example.org/a.jpg", "http://example.org/a.jpg?b=1"):
        result = run(capsys, "predict", address, "--weights", weights_file, *more)
        assert result.returncode == 1 and result.stdout == ""
        expected = f"tfalexnet: {address} is an address; download the picture first, and give its file\n"
        assert result.stderr == expected
