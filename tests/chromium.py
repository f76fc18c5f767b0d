"""A headless Chromium, driven over a pair of pipes by the DevTools protocol."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",  # the projector draws with WebGL
    "--enable-unsafe-swiftshader",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-first-run",
    "--hide-scrollbars",
    "--lang=en-US",
    "--remote-debugging-pipe",
]

# All text of a page: through shadow roots, frames of the same origin and form fields.
TEXT_OF_PAGE = """
(() => {
  const texts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
    if (["STYLE", "SCRIPT"].includes(node.nodeName)) return;
    if (node.nodeName === "INPUT") texts.push(node.value);
    if (node.nodeName === "IFRAME" && node.contentDocument) walk(node.contentDocument);
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document);
  return texts.join(" ").replace(/\\s+/g, " ");
})()
"""

# All elements that a selector matches, through shadow roots and frames.
FIND_ALL = """
(selector, from = document) => {
  const found = [];
  const walk = (root) => {
    found.push(...root.querySelectorAll(selector));
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) walk(element.shadowRoot);
      if (element.nodeName === "IFRAME" && element.contentDocument) walk(element.contentDocument);
    }
  };
  walk(from);
  return found;
}
"""


def find_chromium():
    """The path of Chromium's program, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """One page of a browser, as a context manager."""

    def __init__(self, width=1400, height=1000):
        self.size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._buffer, self._last_id, self._session = b"", 0, None

    def __enter__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._input = _pipe()
        self._output, theirs_out = _pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = [*OPTIONS, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", find_chromium(), *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.send("Page.enable")
        self.send("Emulation.setDeviceMetricsOverride", **self.size)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._input)
        os.close(self._output)
        self._profile.cleanup()

    def send(self, method, **parameters):
        """Sends a command; its result."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._input, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            if not select.select([self._output], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            chunk = os.read(self._output, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, url):
        """Goes to a page, loading it anew even if only the fragment differs."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)

    def evaluate(self, script):
        """The value of an expression of JavaScript."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def write(self, selector, text):
        """Writes a text into the field that the first element found by a selector holds."""
        self.evaluate(f"""(() => {{
            const findAll = {FIND_ALL};
            const element = findAll({json.dumps(selector)})[0];
            const field = findAll("input", element.shadowRoot ?? element)[0];
            field.value = {json.dumps(text)};
            field.dispatchEvent(new Event("input", {{bubbles: true, composed: true}}));
        }})()""")

    def text(self):
        """All text of the page, within shadow roots and frames too."""
        return self.evaluate(TEXT_OF_PAGE)

    def wait_for(self, *texts, seconds=40):
        """Waits until the page shows all of these texts; the page's text."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.text() or ""
            missing = [text for text in texts if text not in shown]
            if not missing:
                return shown
            if time.monotonic() > deadline:
                raise AssertionError(f"{missing} are not shown within {seconds} s: {shown[:3000]}")
            time.sleep(0.3)

    def screenshot(self, path):
        """Keeps a picture of the page, as a PNG."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))


def _pipe():
    """A pipe whose descriptors are not among those that a shell or Chromium use."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends]
    for end in ends:
        os.close(end)
    return moved
