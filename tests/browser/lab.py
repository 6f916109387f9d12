"""JupyterLab as a reader has it in a browser: notebooks opened, looked at and run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, TimeoutError
from reader import SCRIPT, SECONDS, Complaints
from serving import free_port, serving, settings, without

TOP = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the notebook that is seen
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)


@contextmanager
def jupyterlab(folder: Path, place: Path) -> Iterator[str]:
    """Its address, on a folder of notebooks. It asks nobody for news or extensions."""
    tracker = "@jupyterlab/notebook-extension:tracker"
    settings(place, tracker, windowingMode="none")  # every cell is on the page, seen or not
    settings(place, "@jupyterlab/apputils-extension:notification", fetchNews="false")
    # it complains of notebooks that are closed before it is ready
    without(place, "@jupyterlab/debugger-extension")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--port={port}"]
    with serving([*command, f"--ServerApp.root_dir={folder}"], f"{address}/api/status", place):
        yield address


class Lab:
    """The page of a JupyterLab."""

    def __init__(self, page: Page, address: str):
        self.page, self.complaints = page, Complaints(page, address)
        page.set_default_timeout(1000 * SECONDS)
        page.add_init_script(SCRIPT)
        page.goto(f"{address}/lab")
        page.wait_for_function("window.jupyterapp !== undefined")
        page.evaluate("jupyterapp.restored")

    @contextmanager
    def opened(self, name: str, kernel: bool = False) -> Iterator[Locator]:
        """The notebook's panel once all of it is on the page; with a kernel it can be run."""
        self.page.evaluate("([name, kernel]) => reader.open(name, kernel)", [name, kernel])
        self.settle()
        yield self.page.locator(TOP)
        self.page.evaluate("reader.close()")
        self.page.locator(TOP).wait_for(state="detached")

    def settle(self) -> None:
        """Wait until nothing is left to be rendered; what never is remains, as a fault."""
        try:
            self.page.wait_for_function("reader.pending().length === 0")
        except TimeoutError:
            assert self.page.evaluate("reader.pending()")

    def faults(self) -> list[str]:
        """Of the notebook on top, read from its top to its end, and of the console."""
        self.page.evaluate("reader.readThrough()")
        self.settle()
        return [*self.page.evaluate("reader.faults()"), *self.complaints.since()]

    def run(self, until: int | None = None) -> None:
        """Cells of the notebook on top, to an error or to the end or to a cell, which runs, too."""
        self.page.evaluate("n => reader.run(n)", until)
        self.settle()
