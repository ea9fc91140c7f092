"""A headless Chromium for tests and screenshots: found, started without network habits, and asked what it did."""

from __future__ import annotations

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
