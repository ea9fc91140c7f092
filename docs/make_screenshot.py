"""docs/report.png, the picture in the README: the first screen of the default campaign's report.

``python docs/make_screenshot.py`` runs the default campaign, or resumes it, and photographs what it wrote. It takes
Chromium and selenium, and no key: the models are served on this machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main(report: Path, out: Path) -> None:
    """Photograph the top of a report, 1200 x 1500."""
    from tests.support.browser import browser, dark, resize

    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as driver:
        resize(driver, 1200, 1500)
        dark(driver, False)
        driver.get(report.as_uri())
        driver.save_screenshot(str(out))


if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "harness", "run", "config.yaml"], cwd=ROOT, check=True)
    main(ROOT / "results" / "nova" / "report.html", ROOT / "docs" / "report.png")
