"""How long a page takes: written after its analysis, and opened in a browser until it answers.

15 × 1064 logistic units on 10,000 samples (MNIST's test set where RESIDUA_DATA has it, noise of the same
shape elsewhere), and 1,000 layers of 70 units on the digits; both untrained, since values change neither
sizes nor times. Opened: from disk, in headless Chromium, until the first figure is drawn and controls
answer. Needs chromium. Writes docs/evidence/report_cost.json.
"""

import json
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import images
from playwright.sync_api import Browser, sync_playwright

import residua as rs
from residua.analysis import analyse
from residua.provenance import machine, versions
from residua.report.page import write_page
from residua.studies.jobs import RESULTS

ROUNDS = 7
BOUNDS = {"written": 10.0, "opened": 3.0}  # seconds
SUMMARY = {"decisions": [], "adaptive": "none", "data": "benchmark"}


def analysed() -> dict[str, Any]:
    """Return the arrays of both networks."""
    digits = rs.load_data("digits")
    shown = images()
    x = rs.Split(shown.x.reshape(-1, 28, 28), shown.y)
    wide = replace(digits, train=x, val=x, test=x)
    torch.manual_seed(0)
    return {
        "15 × 1064, 10,000 samples": analyse(rs.ResNet(784, 1064, 10).eval(), wide, "test"),
        "1000 × 70, digits": analyse(rs.ResNet(64, 70, 10, depth=1000).eval(), digits, "test"),
    }


def opened(browser: Browser, path: Path) -> float:
    """Return the seconds until a page from disk has drawn its first figure."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    begin = time.perf_counter()
    page.goto(f"file://{path}")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("figure[data-drawn]")
    took = time.perf_counter() - begin
    page.close()
    return took


def main() -> None:
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, arrays in analysed().items():
            path = Path(folder) / "report.html"
            written, shown = (seconds.setdefault(f"{name}, {what}", []) for what in BOUNDS)
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                write_page(path, name, {name: (SUMMARY, arrays)})
                written.append(time.perf_counter() - begin)
                shown.append(opened(browser, path))
            sizes[name] = path.stat().st_size
        browser.close()
    for name, took in seconds.items():
        print(f"{name}: {statistics.median(took):.2f} s")
    result = {
        "seconds": {name: sorted(took) for name, took in seconds.items()},
        "bounds": {name: BOUNDS[name.rpartition(", ")[2]] for name in seconds},
        "bytes": sizes,
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "report_cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {RESULTS / 'report_cost.json'}; now: make evidence")


if __name__ == "__main__":
    main()
