"""Makes the READMEs' pictures of the page: `make pictures`, on a system of its own."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PASSWORD = "Heron-over-42-Lakes"  # noqa: S105 # of a throw-away system
# A flight into a fractal: a picture without a copyright owner.
VIDEO = (
    "mandelbrot=size=1280x720:rate=25:start_scale=0.6:end_scale=0.0008:end_pts=900:maxiter=300",
)


def make_video(ffmpeg: str, target: Path) -> None:
    """Write a video of 36 s with sound."""
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", *VIDEO]
    command += ["-f", "lavfi", "-i", "sine=frequency=220", "-t", "36", "-c:v", "libx264"]
    command += ["-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p", str(target)]
    subprocess.run(command, check=True)


def main(ffmpeg: str) -> None:
    """Take the pictures of the languages."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        video = Path(folder) / "evening race.mp4"
        make_video(ffmpeg, video)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        size = ViewportSize(width=1200, height=760)
        page = browser.new_context(locale="en", viewport=size).new_page()
        page.goto(os.environ["BASE_URL"])
        page.locator("#tab-true").click()
        page.fill("#username", f"Ana {time.time_ns()}")
        page.fill("#email", f"ana{time.time_ns()}@example.com")
        page.fill("#password", PASSWORD)
        page.locator("form button.primary").click()
        page.wait_for_selector("#links")
        page.locator("summary").click()
        page.fill("#part_seconds", "4.5")
        page.set_input_files("input[type=file]", video)
        page.wait_for_url("**/#/task/*")
        # In the middle of the work: some clips are there, others are being made.
        page.wait_for_selector(".card.done >> nth=4", timeout=600_000)
        for language in ("en", "es"):
            page.select_option("#language", language)
            page.wait_for_timeout(600)
            page.screenshot(path=PICTURES / f"task-{language}.jpg", type="jpeg", quality=82)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
