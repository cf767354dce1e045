"""Takes docs/images/*.png, the README's screenshots, of report/index.html: `python
docs/screenshots.py`.

Run it from the project's folder after `dvc repro`, where Chromium, its driver and selenium are
installed.
"""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver

PAGE, IMAGES = Path("report/index.html"), Path("docs/images")
COLOURS = 256  # of the files, which keeps them below 300 kB
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars")


def start(profile: str) -> webdriver.Chrome:
    """Start a browser of its own in a new profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, "--disable-background-networking", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def take(browser: webdriver.Chrome, scheme: str, height: int, steps: str, name: str) -> None:
    """Open the page in light or dark, run some JavaScript, and save what is seen."""
    size = {"width": 1180, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    features.append({"name": "prefers-reduced-motion", "value": "reduce"})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(PAGE.resolve().as_uri())
    browser.execute_script(steps)
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT)
        few.save(IMAGES / f"{name}.png", optimize=True)


def main() -> None:
    """Take the ranked list in light and an alignment in dark."""
    IMAGES.mkdir(exist_ok=True)
    browse = "document.getElementById('browse').scrollIntoView()"
    opened = "document.querySelector('#results button:nth-of-type(1)').click()"
    with tempfile.TemporaryDirectory() as profile:
        browser = start(profile)
        take(browser, "light", 880, browse, "queries")
        take(browser, "dark", 880, opened, "alignment")
        browser.quit()


if __name__ == "__main__":
    main()
