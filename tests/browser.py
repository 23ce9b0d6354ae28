"""Debian's chromium, in which the tests of the report open its pages from disk."""

import contextlib
import json
import os
import re
import shutil

import pytest

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    FOUND = None
else:
    FOUND = shutil.which("chromium")
MISSING = (
    "the report is tested in a browser: pip install playwright, and Debian's chromium (apt-get install "
    "chromium)"
)


def need_a_browser() -> None:
    """Skip the module that calls this where there is no browser; fail where one is required."""
    if FOUND is None and "RESIDUA_BROWSER" in os.environ:
        raise RuntimeError(MISSING)
    if FOUND is None:
        pytest.skip(MISSING, allow_module_level=True)


@contextlib.contextmanager
def launched():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])
        yield browser
        browser.close()


# What a reader sees of a figure after a choice: pictures without labels as they lie on the page, from
# the top left; all else in the units of its axes.
SEEN = """([id, options]) => {
  const figure = document.getElementById(id);
  const controls = [...figure.querySelectorAll("[data-choice]")];
  for (const control of controls) {
    const option = options[control.dataset.choice] ?? control.value;
    if (String(option) === control.value) continue;
    control.value = option;
    control.dispatchEvent(new Event("input"));
  }
  const slides = (c) => c.parentElement.querySelector("output").value;
  const words = (c) => c.options?.[c.selectedIndex].text ?? slides(c);
  const chosen = Object.fromEntries(controls.map((c) => [c.dataset.choice, words(c)]));
  const { _fullData: data, _fullLayout: layout } = figure.querySelector(".plot");
  const kind = (t) => {
    if (!t.type.startsWith("scatter")) return t.type;
    if (t.fill && t.fill !== "none") return "band";
    return t.mode.includes("lines") ? "line" : "points";
  };
  const back = (t, side) => {
    const [first, last] = layout[t[side + "axis"].replace(side, side + "axis")].range;
    return first > last;
  };
  const picture = (t) => {
    const rows = t.z.map((row) => (!t.x && back(t, "x") ? [...row].reverse() : [...row]));
    return t.y || back(t, "y") ? rows : rows.reverse();
  };
  const scale = (t) => [...[t.colorscale[0], t.colorscale.at(-1)].map((c) => c[1]), t.zmin, t.zmax];
  const traces = data.filter((t) => t.visible === true).map((t) => ({
    name: t.name, kind: kind(t), of: t.meta?.class, x: t.x, y: t.y,
    z: t.type === "heatmap" ? picture(t) : t.z,
    scale: t.type === "heatmap" ? scale(t) : undefined,
    error: t.error_y?.array, angle: t.marker?.angle,
  }));
  return JSON.stringify({ chosen, traces });
}"""


class Opened:
    """A page from disk, with all that must not happen in it."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        self.page.on("request", self.asked)
        self.session = self.context.new_cdp_session(self.page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(f"file://{path}")
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def asked(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(f"request: {request.url}")

    def spent(self, metric):
        """Return the seconds of a processor that the page has spent on something."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == metric)

    def show(self, name):
        figure = self.page.locator(f"#{name}")
        figure.scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#{name}[data-drawn]", timeout=30_000)
        return figure

    def choose(self, figure, choice, option):
        control = figure.locator(f'[data-choice="{choice}"]')
        if control.get_attribute("type") == "range":
            control.fill(str(option))
        else:
            control.select_option(str(option))
        self.page.wait_for_timeout(100)

    def traces(self, name):
        script = """name => document.querySelector(`#${name} .plot`)._fullData.map(
            t => ({name: t.name, type: t.type, visible: t.visible, meta: t.meta,
                   x: t.x && [...t.x], y: t.y && [...t.y], z: t.z && [...t.z].map(r => [...r])}))"""
        return self.page.evaluate(script, name)

    def figures(self):
        """Return the names of all figures that can be seen."""
        script = """() => [...document.querySelectorAll("figure[id]")]
            .filter((f) => f.checkVisibility()).map((f) => f.id)"""
        return self.page.evaluate(script)

    def choices(self, name):
        """Return how many options each choice of a figure has."""
        script = """id => Object.fromEntries([...document.querySelectorAll(`#${id} [data-choice]`)].map(
            c => [c.dataset.choice, c.options ? c.options.length : Number(c.max) + 1]))"""
        return self.page.evaluate(script, name)

    def seen(self, name, options):
        """Return what a figure says is chosen, and the traces that it shows, after a choice."""
        found = json.loads(self.page.evaluate(SEEN, [name, options]))
        return found["chosen"], found["traces"]

    def turn_to(self, run):
        """Show a run of several, by its button and the keyboard."""
        self.page.locator("[data-shows]", has_text=re.compile(f"^{run}$")).press("Enter")
