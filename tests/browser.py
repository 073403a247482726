"""A real browser, driven over the DevTools protocol through a pair of pipes: no driver, no port, no network.

https://chromedevtools.github.io/devtools-protocol/ names the commands and events. Each message is JSON with a NUL
behind it; Chromium reads them from its descriptor 3 and writes to 4.
"""

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

TIMEOUT_SECONDS = 60.0  # for one answer or event, on a busy machine
# The words are the folder of the profile and the ends of both pipes; bash moves these to 3 and 4.
_LAUNCH = (
    'exec {commands}<&"$1" {answers}>&"$2"; exec chromium --headless --remote-debugging-pipe --user-data-dir="$0"'
    " --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking"
    " --disable-component-update --disable-extensions --proxy-server=127.0.0.1:9"
    ' about:blank 3<&"$commands" 4>&"$answers"'
)
_KEY_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36} | {
    f"Arrow{side}": 37 + place for place, side in enumerate(("Left", "Up", "Right", "Down"))
}


class Browser:
    """Headless Chromium in a profile of its own; no request of its pages gets beyond this machine."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", _LAUNCH, str(profile), str(commands), str(answers)],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        os.close(commands)
        os.close(answers)
        self._received = b""
        self._last_id = 0
        self._events: dict[str, list[Mapping[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._send("Browser.close", {}, "")
        os.close(self._commands)
        try:
            self._process.wait(TIMEOUT_SECONDS)
        finally:
            self._process.kill()
            os.close(self._answers)

    @contextlib.contextmanager
    def page(self, width: int = 1200, height: int = 800, *, is_phone: bool = False) -> Iterator["Page"]:
        """Open a page of its own, as on a screen of that size; a phone has touch and two pixels for one."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if is_phone else 1,
            mobile=is_phone,
        )
        page.call("Emulation.setTouchEmulationEnabled", enabled=is_phone)
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield page
        self.call("Target.closeTarget", {"targetId": target})

    def call(self, method: str, parameters: Mapping[str, Any], session: str = "") -> Any:
        """Send a command and give its result; events that come before it are kept."""
        id = self._send(method, parameters, session)
        while True:
            message = self._receive(method)
            if message.get("id") == id:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._events.setdefault(message.get("sessionId", ""), []).append(message)

    def events(self, session: str) -> list[Mapping[str, Any]]:
        """Give the events of a page that came so far, oldest first."""
        return self._events.setdefault(session, [])

    def wait(self, session: str) -> None:
        """Wait until a page has one more event."""
        count = len(self.events(session))
        while len(self.events(session)) == count:
            message = self._receive("an event")
            self.events(message.get("sessionId", "")).append(message)

    def _send(self, method: str, parameters: Mapping[str, Any], session: str) -> int:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        content = json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        while content:
            content = content[os.write(self._commands, content) :]
        return self._last_id

    def _receive(self, awaited: str) -> Mapping[str, Any]:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer: {awaited}"
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, f"the browser died: {awaited}"
            self._received += chunk
        content, _, self._received = self._received.partition(b"\0")
        message: Mapping[str, Any] = json.loads(content)
        return message


class Page:
    """One page of the browser, and all that it asked for and complained about since it was opened."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command to the page and give its result."""
        return self._browser.call(method, parameters, self._session)

    def open(self, path: Path) -> None:
        """Load a file and wait until all that it needs at first is there."""
        loads = len(self._named("Page.loadEventFired"))
        self.call("Page.navigate", url=path.absolute().as_uri())
        while len(self._named("Page.loadEventFired")) == loads:
            self._browser.wait(self._session)

    def evaluate(self, expression: str) -> Any:
        """Run JavaScript in the page and give its value, awaited where it is a promise."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def settle(self) -> None:
        """Wait until the page has drawn what was done to it, and its images have begun to load."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def press(self, key: str) -> None:
        """Press and release a key, as a hand would."""
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": _KEY_CODES[key]}
        typed = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **facts, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)
        self.settle()

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of the first element that a selector finds."""
        x, y = self.evaluate(
            f"(box => [box.x + box.width / 2, box.y + box.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a finger over the screen."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        for part in (0.25, 0.5, 0.75, 1.0):
            x, y = (begin + part * (stop - begin) for begin, stop in zip(start, end, strict=True))
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def prefer(self, scheme: str) -> None:
        """Ask for `dark` or `light` colours, as the system's setting would."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.settle()

    def requested(self) -> list[str]:
        """List the URL of every request, the page's own first."""
        return [event["request"]["url"] for event in self._named("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """List what the browser's console holds: errors, warnings, and what the security policy stopped."""
        logged = [event["entry"]["text"] for event in self._named("Log.entryAdded")]
        thrown = [event["exceptionDetails"]["text"] for event in self._named("Runtime.exceptionThrown")]
        said = [str(event["args"]) for event in self._named("Runtime.consoleAPICalled")]
        return logged + thrown + said

    def _named(self, method: str) -> list[Mapping[str, Any]]:
        events = self._browser.events(self._session)
        return [event["params"] for event in events if event["method"] == method]
