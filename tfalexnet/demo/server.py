"""Serve the page on this machine only: no other host is asked, and no file of the machine is given out."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfalexnet.demo.subject import Subject
from tfalexnet.hub.cache import Weights, WeightsNotFoundError
from tfalexnet.io.packages import require_packages
from tfalexnet.io.terminal import print_error
from tfalexnet.runtimes.selection import AUTO

HOST = "127.0.0.1"
OFFLINE = "cifar10"  # Weights that ship with the package.
UPLOAD = "20mb"  # Of one file.
AGE = 600  # Seconds after which photos and maps are deleted.
INTERVAL = 60  # Seconds between two deletions.
SESSIONS = 100  # Whose state is kept, about 40 kB each; every call of a script is one.
SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}

# What the page and scripts ask for. Gradio has more, such as fetching addresses and proxies; those answer 404.
PATHS = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"}
FOLDERS = ("/assets/", "/static/", "/svelte/")
API = "/gradio_api/"
API_PATHS = {"info", "upload", "upload_progress", "queue/join", "queue/data", "startup-events", "app_id", "reset"}
API_PATHS |= {"cancel", "theme.css", "openapi.json"}
API_FOLDERS = ("call/", "heartbeat/", "file=")
POLICY = (  # What a browser lets the page load: from the page's own address only.
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


class Guard:
    """ASGI middleware: paths that the page does not need answer 404, and browsers load nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and not is_served(scope["path"]):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"not found"})
            return

        async def send_with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def is_served(path: str) -> bool:
    """Return whether a path is one that the page or a script needs."""
    if not path.startswith(API):
        return path in PATHS or path.startswith(FOLDERS)
    path = path.removeprefix(API)
    return path.rstrip("/") in API_PATHS or (path.startswith(API_FOLDERS) and "://" not in path)


@contextlib.contextmanager
def serving(
    weights: Weights | None = None,
    compare: Weights | None = None,
    port: int | None = None,
    share: bool = False,
    engine: str = AUTO,
) -> Iterator[str]:
    """Serve the page during the block, and yield its address.

    Args:
        weights: as for `tfalexnet.predict`; None is `cifar10` where the default can neither be found nor downloaded.
        compare: other weights, shown beside the first.
        port: of 127.0.0.1; None is the first free one from 7860.
        share: whether Gradio's servers give the page a public address, through which all photos then pass.
        engine: as for `tfalexnet.predict`.

    Raises:
        ValueError: Gradio is not installed.
        OSError: the port is taken.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`.
    """
    require_packages("demo", "gradio")
    subjects = [_first_subject(weights, engine), *([Subject(compare, engine)] if compare is not None else [])]
    with tempfile.TemporaryDirectory(prefix="tfalexnet-demo-", ignore_cleanup_errors=True) as folder:
        # Gradio reads these when it is imported and when it stores a file. The folder is readable by its owner only.
        files, samples = (Path(folder) / name for name in ("files", "samples"))
        samples.mkdir()
        environment = dict(os.environ)
        os.environ |= SETTINGS | {"GRADIO_TEMP_DIR": str(files), "GRADIO_EXAMPLES_CACHE": str(files)}
        from gradio import themes
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from tfalexnet.demo.page import build_page

        page = build_page(subjects, samples)
        for subject in subjects:  # Errors of the weights appear now, and the first photo is answered quickly.
            subject.answer(samples / "stripes.png")
        # Names of other hosts that resolve to this machine are refused: their pages could read the answers.
        hosts = ["*"] if share else [HOST, "localhost"]
        ended = threading.Event()
        threading.Thread(target=_delete_old, args=(files, ended), daemon=True).start()
        try:
            _, address, shared = page.launch(
                server_name=HOST,
                server_port=port,
                share=share,
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=UPLOAD,
                ssr_mode=False,
                mcp_server=False,
                run_history=False,
                state_session_capacity=SESSIONS,
                enable_monitoring=False,
                num_workers=0,
                footer_links=["api"],
                theme=themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(Guard)]},
            )
            yield shared or address
        finally:
            ended.set()
            page.close(verbose=False)
            os.environ.clear()
            os.environ |= environment


def _first_subject(weights: Weights | None, engine: str) -> Subject:
    try:
        return Subject(weights, engine)
    except WeightsNotFoundError as error:
        if weights is not None:
            raise
        print_error(f"note: {error}\nThe page shows the weights that ship with the package: {OFFLINE}")
        return Subject(OFFLINE, engine)


def _delete_old(folder: Path, ended: threading.Event) -> None:
    """Delete files older than AGE, and folders that are empty since then, until the server ends.

    Gradio's `delete_cache` ends with an error when a file is uploaded while it deletes. What is there at the start
    belongs to the page.
    """
    kept = set(folder.rglob("*"))
    while not ended.wait(INTERVAL):
        for path in [path for path in folder.rglob("*") if path not in kept]:
            with contextlib.suppress(OSError):  # It is not empty, or gone.
                if time.time() - path.stat().st_mtime > AGE:
                    (path.rmdir if path.is_dir() else path.unlink)()
