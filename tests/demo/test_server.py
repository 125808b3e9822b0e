"""The server answers scripts, gives out no file of the machine, fetches no address, and has bounds."""

import json
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from PIL import Image
from support import ROOT
from support.command import run, run_process
from support.demo import served
from support.pictures import encode, noise

import tfalexnet
from tfalexnet.demo import server
from tfalexnet.demo.server import is_served

API = "gradio_api"


def ask(address: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """The status and the content of an answer."""
    request = urllib.request.Request(f"{address}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(address: str, data: bytes, name: str = "photo.png") -> tuple[int, bytes]:
    """The answer to an upload, as a form of a browser."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return ask(address, f"{API}/upload", body, **headers)


def call(address: str, path: str, **fields: str) -> tuple[str, object]:
    """The last event of a call of `/predict` with a file, and its data."""
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}} | fields
    content = {"Content-Type": "application/json"}
    status, answer = ask(address, f"{API}/call/predict", json.dumps({"data": [photo]}).encode(), **content)
    assert status == 200, answer
    _, stream = ask(address, f"{API}/call/predict/{json.loads(answer)['event_id']}")
    event, data = stream.decode().strip().split("\n\n")[-1].split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def predict(address: str, data: bytes, name: str = "photo.png") -> tuple[str, object]:
    status, answer = upload(address, data, name)
    assert status == 200, answer
    return call(address, json.loads(answer)[0])


def test_predict_answers_with_the_classes_of_both_weights(address, towers, photo):
    event, answers = predict(address, photo.read_bytes())
    assert event == "complete" and len(answers) == 2
    for weights, answer in zip(["cifar10", towers], answers, strict=True):
        expected = tfalexnet.predict(photo, weights)
        shown = [(entry["label"].split(" (")[0], round(entry["confidence"], 5)) for entry in answer["confidences"]]
        assert shown == [(prediction.label, round(prediction.score, 5)) for prediction in expected]


def test_the_client_of_gradio_is_answered(address, photo):
    client = pytest.importorskip("gradio_client")
    caller = client.Client(address, verbose=False)
    first, _ = caller.predict(client.handle_file(str(photo)), api_name="/predict")
    caller.close()
    assert first["label"] == "cat"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no picture", "photo.png: not a picture in a format that is read"),
        (encode(noise(1)[0])[:500], "photo.png: damaged picture"),
        (encode(Image.new("1", (20000, 20000))), "photo.png: (refused|expected at most 120000000 pixels)"),
    ],
    ids=["text", "damaged", "bomb"],
)
def test_a_bad_file_is_a_message(address, errors, data, reason):
    before = errors.read_text()
    event, data = predict(address, data)
    assert event == "error"
    assert re.match(reason, data["error"]) and errors.read_text() == before  # Without a traceback.


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "README.md"), "../../../etc/passwd"])
def test_a_file_of_the_machine_is_no_photo(address, path):
    event, data = call(address, path)
    assert event == "error" and "passwd:" not in str(data)


def test_addresses_are_not_fetched(address):
    """Not from a server of this test either."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.1)
        for host in (f"127.0.0.1:{other.getsockname()[1]}", "example.com"):
            event, data = call(address, f"http://{host}/a.png", url=f"http://{host}/a.png")
            assert event == "error" and "Expected a file. Received an address" in str(data)
        with pytest.raises(TimeoutError):
            other.accept()


def test_no_file_of_the_machine_is_given_out(address, towers, photo):
    ways = (f"{API}/file=", f"{API}/file/", "file=", "static/..%2f..", "assets/")
    for path in (towers, photo, "/etc/passwd", ROOT / "README.md", ROOT / "tfalexnet" / "__init__.py", Path.cwd()):
        for way in ways:
            assert ask(address, f"{way}{path}")[0] in (403, 404), (way, path)
    assert ask(address, f"{API}/file=http://example.com/")[0] == 404
    # An uploaded photo is given to those who know its path, which holds a hash of its content.
    _, answer = upload(address, photo.read_bytes())
    assert ask(address, f"{API}/file={json.loads(answer)[0]}") == (200, photo.read_bytes())


def test_parts_of_gradio_that_the_page_does_not_need_are_not_served():
    unused = "proxy=http://a", "vibe-edit", "vibe-code", "run/predict", "component_server", "stream/1", "runs"
    assert not any(is_served(f"/gradio_api/{path}") for path in (*unused, "dev/reload", "file=http://a", ""))
    assert not any(map(is_served, ("/monitoring", "/gradio_api", "/docs", "/login", "//")))
    assert all(map(is_served, ("/", "/config", "/assets/a.js", "/gradio_api/info", "/gradio_api/call/predict/1")))


def test_large_files_are_refused(address):
    assert upload(address, bytes(21_000_000))[0] == 413


def test_the_page_of_another_host_is_refused(address):
    assert ask(address, "", Host="example.com")[0] == 400
    status, page = ask(address, "")
    assert status == 200 and b"cdn" not in page.lower() and b"fonts.google" not in page
    with urllib.request.urlopen(address) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_the_server_listens_on_this_machine_only(address):
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rstrip("/").rpartition(":")[2])
    other = socket.socket()
    other.bind(("127.0.0.2", port))  # Fails if the port of all addresses is taken.
    other.close()


def test_only_predict_is_public(address):
    endpoints = json.loads(ask(address, f"{API}/info")[1])["named_endpoints"]
    assert list(endpoints) == ["/predict"]


def test_without_download_the_weights_that_ship_are_shown(tmp_path):
    pytest.importorskip("gradio")
    offline = {"TFALEXNET_HOME": str(tmp_path), "TFALEXNET_OFFLINE": "1"}
    with served(tmp_path / "stderr", **offline) as address:
        assert ask(address, "")[0] == 200
    assert "The page shows the weights that ship with the package: cifar10" in (tmp_path / "stderr").read_text()


def test_weights_that_are_named_have_no_replacement(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(server, "require_packages", lambda *_: None)
    result = run(capsys, "demo", "--weights", tmp_path / "none.h5")
    assert result.returncode == 1 and "there is no such file" in result.stderr


def test_without_gradio_the_message_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = run(capsys, "demo")
    assert result.returncode == 1 and "pip install 'tfalexnet[demo]'" in result.stderr


def test_a_port_that_is_taken_is_an_error(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    result = run_process("demo", "--weights", "cifar10", "--port", port)
    assert result.returncode == 1 and result.stderr.startswith("tfalexnet: ") and str(port) in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_old_files_are_deleted_except_those_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "AGE", 100)
    monkeypatch.setattr(server, "INTERVAL", 0.01)
    (tmp_path / "first.png").touch()
    os.utime(tmp_path / "first.png", (0, 0))
    ended = threading.Event()
    deleting = threading.Thread(target=server._delete_old, args=(tmp_path, ended))
    with monkeypatch.context() as patch:
        started = threading.Event()
        patch.setattr(ended, "wait", lambda seconds: started.set() or threading.Event.wait(ended, seconds))
        deleting.start()
        assert started.wait(10)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.png").touch()
    for path in (tmp_path / "old" / "photo.png", tmp_path / "old"):
        os.utime(path, (0, 0))
    end = time.monotonic() + 10
    while (tmp_path / "old" / "photo.png").exists() and time.monotonic() < end:
        time.sleep(0.01)
    ended.set()
    deleting.join(10)
    assert not deleting.is_alive()
    assert {path.name for path in tmp_path.rglob("*.png")} == {"first.png", "photo.png"}
    assert (tmp_path / "new" / "photo.png").exists() and not (tmp_path / "old" / "photo.png").exists()
