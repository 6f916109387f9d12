"""A headless chromium, driven through the pipe of its own DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
KEYS = {
    " ": ("Space", 32),
    "Backspace": ("Backspace", 8),
    "Enter": ("Enter", 13),
    "Tab": ("Tab", 9),
}


class Page:
    """One page of a new browser; a context manager."""

    def __init__(self, folder, width=1280, height=800):
        down, up = os.pipe(), os.pipe()  # to the browser's descriptor 3, from its 4
        words = [BROWSER, "--headless=new", "--remote-debugging-pipe", "--no-sandbox"]
        words += [f"--user-data-dir={folder}", f"--window-size={width},{height}"]
        words += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "about:blank"]
        links = f'exec "$@" 3</proc/self/fd/{down[0]} 4>/proc/self/fd/{up[1]}'
        self.process = subprocess.Popen(
            ["sh", "-c", links, "sh", *words],
            pass_fds=(down[0], up[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down[0])
        os.close(up[1])
        self.out, self.into = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb")
        self.number, self.session, self.rest = 0, None, b""
        self.events = []
        (page,) = [
            target["targetId"]
            for target in self.call("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        ]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session = None
        self.call("Browser.close")
        self.process.wait(timeout=30)
        self.out.close()
        self.into.close()

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.out.write(json.dumps(message).encode() + b"\0")
        self.out.flush()
        while (answer := self.receive()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def receive(self):
        while b"\0" not in self.rest:
            part = os.read(self.into.fileno(), 2**16)
            assert part, "the browser has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, address):
        self.call("Page.navigate", url=address)

    def value(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not (found := self.value(expression)):
            assert time.monotonic() < end, f"never: {expression}\n{self.text()}"
            time.sleep(0.02)
        return found

    def text(self):
        return self.value("document.body.innerText")

    def press(self, key):
        code, number = KEYS.get(key, (key, ord(key.upper()) if len(key) == 1 else 0))
        one = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        typed = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **one, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **one)

    def picture(self, file):
        shot = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))
