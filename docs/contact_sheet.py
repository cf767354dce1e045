"""Draws docs/people.jpg: eight people of the built-in benchmark (rows) under its six cameras
(columns), twice enlarged.

Run it from the project's folder: `python docs/contact_sheet.py`.
"""

import sys
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from reid.datasets.synthetic.benchmark import Shot, SyntheticSettings  # noqa: E402
from reid.datasets.synthetic.people import dress  # noqa: E402
from reid.datasets.synthetic.picture import draw_shot  # noqa: E402
from reid.runtime import config, settings  # noqa: E402

SOURCE = config.entry(config.read(DOCS.parent / "params.yaml"), "datasets", "synthetic")["source"]
SETTINGS = settings.make(SyntheticSettings, SOURCE, "datasets.synthetic.source")
PEOPLE, CAMERAS, ENLARGED, GAP = range(24, 32), range(1, 7), 2, 2


def main() -> None:
    """Draw every person once under every camera and save the sheet."""
    wide, tall = SETTINGS.width * ENLARGED + GAP, SETTINGS.height * ENLARGED + GAP
    sheet = Image.new("RGB", (wide * len(CAMERAS) - GAP, tall * len(PEOPLE) - GAP), "white")
    for row, pid in enumerate(PEOPLE):
        person = dress(SETTINGS.seed, pid, SETTINGS.lookalikes)
        for column, camid in enumerate(CAMERAS):
            image = draw_shot(SETTINGS, Shot(pid, camid, 0, ""), person)
            sheet.paste(
                image.resize((wide - GAP, tall - GAP), Image.Resampling.BICUBIC),
                (column * wide, row * tall),
            )
    sheet.save(DOCS / "people.jpg", quality=82)


if __name__ == "__main__":
    main()
