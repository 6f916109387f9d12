"""What a reader does with a page that has controls, in JupyterLab and in Voilà."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page

SECONDS = 180  # for whatever there is to wait for: a machine may be busy
SCRIPT = Path(__file__).with_name("reader.js").read_text(encoding="utf-8")
OUTPUT = "xpath=ancestor::*[contains(concat(' ', @class, ' '), ' jp-OutputArea-output ')][last()]"

#: JupyterLab's own, of a notebook without a kernel
NO_KERNEL = "script: Cannot read properties of null (reading 'kernel')"


class Complaints(list[str]):
    """Of a page: errors of its scripts and console, and what it asks of anybody but its server."""

    def __init__(self, page: Page, address: str):
        own = (address, address.replace("http", "ws", 1), "data:", f"blob:{address}")
        page.on("pageerror", lambda error: self.append(f"script: {error}"))
        page.on("console", lambda m: m.type == "error" and self.append(f"console: {m.text}"))
        page.on("request", lambda r: r.url.startswith(own) or self.append(f"asked: {r.url}"))

    def since(self) -> list[str]:
        """Those since the last time."""
        found = [one for one in self if one != NO_KERNEL]
        self.clear()
        return found


def changed(control: Locator, act: Callable[[], object], until: str = "") -> str:
    """The text that stands beside a control once acting on it has changed what is shown there, in
    the same output, and `until` is a part of it."""
    control.wait_for()
    output = control.locator(OUTPUT).element_handle()
    before = output.evaluate("x => reader.state(x)")
    act()
    done = "([x, y, z]) => reader.state(x) !== y && x.innerText.includes(z)"
    control.page.wait_for_function(done, arg=[output, before, until])
    return output.inner_text()


def search(page: Locator, picture: Path) -> None:
    """Notebook 08: another loss, another query by its name, a picture of one's own."""
    loss = page.locator(".widget-dropdown select")
    loss.wait_for(timeout=600_000)  # the first time, networks are trained before
    losses = loss.locator("option").all_inner_texts()
    assert losses[0] in changed(loss, lambda: loss.select_option(losses[0]))
    query = page.locator("input[list]")
    other = query.evaluate("x => x.list.options[5].value")
    assert other in changed(query, lambda: (query.fill(other), query.press("Enter")))
    upload = page.locator(".widget-upload")
    shown = changed(upload, lambda: choose_file(upload, picture), picture.name)  # after "Looking …"
    assert picture.name in shown


def choose_file(button: Locator, file: Path) -> None:
    with button.page.expect_file_chooser() as dialogue:
        button.click()
    dialogue.value.set_files(file)
