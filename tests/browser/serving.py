"""A server in a process of its own, with settings, kernels and results of its own."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maclcore import paths

SECONDS = 180  # until it answers: a machine may be busy


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(command: Sequence[str], address: str, place: Path) -> Iterator[Path]:
    """While it serves, what it says; all that it writes is in `place`."""
    log = place / f"{Path(command[2]).name}.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            command, cwd=paths.ROOT, env=environment(place), stdout=file, stderr=file
        )
    try:
        _answers(address, server, log)
        yield log
    finally:
        server.terminate()  # which ends its kernels, too
        server.wait(SECONDS)


def _answers(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=SECONDS).close()
            return
        except urllib.error.HTTPError:
            return  # that is an answer
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{address} never answered:\n{log.read_text()}")


def environment(place: Path) -> dict[str, str]:
    """What is stored is read from the repository; nobody's settings count, and none are changed."""
    packed = place / "results" / "packed"
    packed.parent.mkdir(exist_ok=True)
    if not packed.exists():
        packed.symlink_to(paths.ROOT / "results" / "packed")
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "MACL_RESULTS": "results",
    }
    own = {name: str(place / folder) for name, folder in folders.items()}
    search = os.pathsep.join(filter(None, (str(paths.ROOT), os.environ.get("PYTHONPATH"))))
    unset = {"MACL_DATA": "", "MACL_FIGURES": "", "PYTHONPATH": search, "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **own, **unset}


def settings(place: Path, plugin: str, **values: object) -> None:
    """JupyterLab's, for one of its plugins, as `@jupyterlab/notebook-extension:tracker`."""
    extension, name = plugin.split(":")
    _write(place / "settings" / extension / f"{name}.jupyterlab-settings", values)


def without(place: Path, *extensions: str) -> None:
    """JupyterLab's extensions that stay out."""
    file = place / "config" / "labconfig" / "page_config.json"
    _write(file, {"disabledExtensions": dict.fromkeys(extensions, True)})


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
