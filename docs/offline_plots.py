"""Write .dvc/tmp/offline.html, with which `dvc plots` draws without a network: `python
docs/offline_plots.py`, then `dvc config --local plots.html_template tmp/offline.html`.

Vega comes with the package vl-convert-python; DVC's own page loads it from the web.
"""

from pathlib import Path

import vl_convert


def main() -> None:
    """Write the page, with Vega's scripts in it and a place for the charts."""
    script = vl_convert.javascript_bundle().replace("</script", "<\\/script")
    page = "<!DOCTYPE html>\n<meta charset='utf-8'>\n<title>DVC plots</title>\n"
    file = Path(".dvc/tmp/offline.html")
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{page}<script>{script}</script>\n{{plot_divs}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
