"""Take the pictures of the docs from a report page: python docs/picture.py PAGE FOLDER."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# Name, width, height, colours, and the figure that is at the top, or none for the top of the page.
PICTURES = (
    ("demo", 1280, 1500, "light", None),
    ("report-trajectories", 1280, 960, "dark", "projection"),
    ("report-narrow", 390, 900, "light", "sample"),
)


def main(page: Path, folder: Path) -> None:
    """Write NAME.png for every picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, width, height, colours, figure in PICTURES:
            shown = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=colours
            )
            shown.goto(f"file://{page.resolve()}")
            shown.wait_for_selector("html[data-ready]")
            if figure:
                buttons = shown.locator("[data-shows]")
                if buttons.count():
                    buttons.nth(1).click()
                found = shown.locator(f'figure[id$="-{figure}"]:visible').first
                found.evaluate("e => e.scrollIntoView()")
            shown.wait_for_timeout(3000)
            shown.screenshot(path=folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
