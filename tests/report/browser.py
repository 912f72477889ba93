"""A browser without a window, driven over two pipes: DevTools without a socket and without a package."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --mute-audio --hide-scrollbars "
    "--disable-dev-shm-usage --remote-debugging-pipe"
)
# Chromium reads its orders from descriptor 3 and writes to 4
_START = "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"


# What is outside the window or its own box, and what overlaps: of every line of text and every picture that is shown.
MEASURE = """((scrolls) => {
  document.querySelectorAll('details').forEach(part => { part.open = true; });
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), boxes = [], cut = [], over = [];
  const seen = e => e.checkVisibility() && !e.closest('script, .skip, title, option, [hidden]');
  const add = (owner, name, rects) => { for (const r of rects) if (r.width > 1 && r.height > 1) boxes.push({ owner, name, r }); };
  for (let node; (node = words.nextNode());) {
    if (!node.data.trim() || !seen(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    add(node.parentElement, node.data.trim().slice(0, 40), range.getClientRects());
  }
  document.querySelectorAll('img, canvas').forEach(e => seen(e) && add(e, e.alt || e.tagName, [e.getBoundingClientRect()]));
  // a reader scrolls what is beside the visible part of a block of code
  const hidden = ({ owner, r }) => {
    for (let e = owner; e && e !== document.body; e = e.parentElement)
      if (/auto|scroll/.test(getComputedStyle(e).overflowX)) {
        const box = e.getBoundingClientRect();
        if (r.right > box.right + 1 || r.left < box.left - 1) return true;
      }
    return false;
  };
  if (scrolls) boxes.splice(0, boxes.length, ...boxes.filter(each => !hidden(each)));
  const wide = document.documentElement.clientWidth;
  for (const { owner, name, r } of boxes) {
    if (r.left < -1 || r.right > wide + 1) cut.push(name);
    for (let e = owner; e && e !== document.body; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== 'visible' && e.clientWidth) {
        const box = e.getBoundingClientRect();
        if (r.right > box.right + 1 || r.left < box.left - 1) cut.push(name);
      }
  }
  const drawing = e => e.closest('svg');
  boxes.sort((a, b) => a.r.top - b.r.top);
  boxes.forEach((a, i) => {
    for (let k = i + 1; k < boxes.length && boxes[k].r.top < a.r.bottom - 2; k++) {
      const b = boxes[k], related = a.owner.contains(b.owner) || b.owner.contains(a.owner);
      if (!related && a.r.left < b.r.right - 1 && b.r.left < a.r.right - 1 && a.r.bottom - b.r.top > 3)
        over.push(a.name + ' / ' + b.name);
    }
  });
  return { count: boxes.length, cut: [...new Set(cut)], over: [...new Set(over)] };
})"""


def chromium():
    """Where the browser is, or nothing."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One page. `problems` has every message of the console, exception, and refused request."""

    def __init__(self, folder: Path):
        self.problems, self.requests, self._number, self._rest = [], [], 0, b""
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        ends = [os.dup(orders), os.dup(answers)]
        while min(ends) < 10:  # not where they are to be put
            ends = [os.dup(end) for end in ends]
        words = [chromium(), *_FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, *map(str, ends), *words],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in {orders, answers, *ends}:
            os.close(end)
        self._session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.size(1280)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(Exception):
            self._session = None
            self.ask("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._orders)
        os.close(self._answers)

    def ask(self, method, **parameters):
        """Give an order and wait for its answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        return self._until(lambda message: message.get("id") == self._number)

    def _until(self, wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            message = self._next(end - time.monotonic())
            if wanted(message):
                assert "error" not in message, message["error"]
                return message.get("result", message.get("params"))
            self._note(message.get("method", ""), message.get("params", {}))

    def _next(self, seconds):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0, seconds))
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def _note(self, method, said):
        if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.problems.append(json.dumps(said))
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    def fresh(self):
        """As if nothing had been done yet."""
        self.ask("Emulation.setScriptExecutionDisabled", value=False)
        self.ask("Page.navigate", url="about:blank")
        self._until(lambda message: message.get("method") == "Page.loadEventFired")
        self.size(1280)
        self.dark(False)
        self.point(1, 1)
        self.problems.clear()
        self.requests.clear()

    def open(self, path):
        """Load a file, or what has an address, and wait for it."""
        url = str(path) if str(path).startswith("http://") else Path(path).resolve().as_uri()
        self.ask("Page.navigate", url=url)
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script):
        """The value of an expression; promises are waited for."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        found = self.ask("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def measure(self, *, scrolls=False):
        """How many pieces of text and pictures are shown, which of them are cut, and which overlap.

        `scrolls`: what a reader can scroll into view is not cut.
        """
        return self.run(f"{MEASURE}({str(scrolls).lower()})")

    def size(self, width, height=900, *, phone=False):
        given = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.ask("Emulation.setDeviceMetricsOverride", **given)

    def dark(self, on=True):
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def key(self, name, code=0, *, text=""):
        given = {"key": name, "code": name, "windowsVirtualKeyCode": code, "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **given)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **given)

    def point(self, x, y):
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path, *, whole=True):
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def _clip(self, whole):
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def print(self, path):
        """The page on paper."""
        data = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
        Path(path).write_bytes(base64.b64decode(data))
