"""A headless Chromium for tests and screenshots: found, started without network habits, and asked what it did."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def chromium() -> str | None:
    """Path of the browser: $CHROMIUM, or one that is installed; None without it or its driver."""
    if not shutil.which("chromedriver"):
        return None
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def axe_core() -> Path | None:
    """axe-core's one file: $AXE_CORE, or that inside the package axe-playwright-python; None without it.

    ``pip install --no-deps axe-playwright-python`` is 160 kB: only its copy of axe-core is used, not Playwright.
    """
    if named := os.environ.get("AXE_CORE"):
        return Path(named)
    found = importlib.util.find_spec("axe_playwright_python")
    paths = [Path(folder) / "axe.min.js" for folder in (found.submodule_search_locations or ())] if found else []
    return next((p for p in paths if p.is_file()), None)


def violations(driver: Any, axe: Path) -> list[str]:
    """What axe-core finds on the page against WCAG 2.0, 2.1 and 2.2, levels A and AA, every fold opened."""
    driver.execute_script(axe.read_text("utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    script = """
        const [tags, done] = arguments;
        for (const d of document.querySelectorAll('details')) d.open = true;
        axe.run(document, {runOnly: tags, resultTypes: ['violations']}).then(done, (e) => done({error: String(e)}))"""
    result = driver.execute_async_script(script, tags)
    if "error" in result:
        raise RuntimeError(result["error"])
    return [
        f"{v['id']}: {v['help']}: {n['target']} {n['html'][:200]}" for v in result["violations"] for n in v["nodes"]
    ]


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Any]:
    """A driver with console and network logs, in a fresh profile."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium() or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first page did
        yield driver
    finally:
        driver.quit()


def requests(driver: Any) -> list[str]:
    """URLs that pages asked for since the last call, the files themselves and data: left out."""
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [u for u in urls if not u.startswith(("file:", "data:"))]


def resize(driver: Any, width: int, height: int, *, phone: bool = False) -> None:
    """Set the viewport, exactly."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def dark(driver: Any, on: bool) -> None:
    """Prefer dark colours, or light ones."""
    feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def press_tab(driver: Any) -> None:
    """Move the focus on, as a reader without a mouse does."""
    for kind in ("rawKeyDown", "keyUp"):
        key = {"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        driver.execute_cdp_cmd("Input.dispatchKeyEvent", key)


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two hex colours."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
