"""The pictures of the README, made again from a demo: halo demo, then python docs/screenshots.py halo-demo

Needs playwright and a Chromium, as the tests do; ImageMagick's `convert`, where it is there, makes the files smaller.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
CHROMIUM = "/usr/bin/chromium"
COLOURS = "96"
FINDING = "issue_refund"  # in the title of the finding that is shown: a cause beside the span where it showed


@contextmanager
def served(demo: Path) -> Iterator[str]:
    """Serve the page over a directory; yields its address."""
    argv = [sys.executable, "-m", "halo_worker", "page", "--data-dir", str(demo), "--endpoint", "127.0.0.1:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[-1] for line in process.stdout if line.startswith("page:")).rstrip("/")
        finally:
            process.terminate()


def main(demo: Path) -> None:
    """Take every picture."""
    reports = demo / "reports"
    report = max(path for path in reports.iterdir() if path.is_dir()) / "report.html"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def page(path: Path, width: int, height: int, scheme: str = "light") -> Page:
            made = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            made.goto(path.resolve().as_uri())
            return made

        page(report, 1180, 860).screenshot(path=HERE / "images" / "report.png")
        wide = page(report, 1180, 1300)
        finding = wide.locator("details.finding", has=wide.locator("h3", has_text=FINDING)).first
        finding.evaluate("card => { card.open = true; }")
        finding.screenshot(path=HERE / "images" / "finding.png")
        charts = page(report, 1180, 1000, "dark")
        charts.locator(".charts").screenshot(path=HERE / "images" / "charts.png")
        page(report, 390, 844, "dark").screenshot(path=HERE / "images" / "phone.png")
        page(reports / "index.html", 1180, 860).screenshot(path=HERE / "images" / "index.png")
        with served(demo) as address:
            view = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
            view.goto(f"{address}/issues?q={FINDING}")
            view.locator("main table a").first.click()
            view.screenshot(path=HERE / "images" / "page-issue.png")
            view.goto(f"{address}/traces?status=failed")
            view.locator("main a[href^='/traces/']").first.wait_for()
            view.screenshot(path=HERE / "images" / "page-traces.png")
            view.locator("main a[href^='/traces/']").first.click()
            view.get_by_text("Conversation").first.wait_for()
            view.screenshot(path=HERE / "images" / "page-trace.png")
        browser.close()
    for picture in sorted((HERE / "images").glob("*.png")):
        if shutil.which("convert"):
            subprocess.run(
                ["convert", picture, "-strip", "+dither", "-colors", COLOURS, f"PNG8:{picture}"], check=False
            )
        print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "halo-demo"))
