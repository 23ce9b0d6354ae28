"""The report page in a real browser, opened from disk: how it looks, how it answers, what it saves.
Whether what it draws is what is stored: test_browser_values.py."""  # fmt: skip

import csv
import time

import numpy as np
import pytest

from browser import Opened, need_a_browser
from pages import SUMMARY, analysis_of, network, page_of
from residua.report.page import LARGEST, write_page

need_a_browser()

EVIL = "<script>alert(1)</script>"
MARKS = (
    ".scatterlayer path.point, .scatterlayer path.js-line, .barlayer path, .heatmaplayer image, "
    ".gl-container canvas"
)


@pytest.fixture(scope="module")
def found():
    return analysis_of(network(), noisy=True)


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    where = tmp_path_factory.mktemp("page") / "report.html"
    page_of(where, found)
    return where


@pytest.fixture
def open_page(chromium, path):
    opened = []

    def make(where=path, **options):
        opened.append(Opened(chromium, where, **options))
        return opened[-1]

    yield make
    for one in opened:
        wrong = list(one.wrong)
        one.context.close()
        assert wrong == []


@pytest.fixture(scope="module")
def shared(chromium, path):
    """Return a page for tests that choose something in figures and look: opening one takes seconds."""
    page = Opened(chromium, path)
    yield page
    page.context.close()


@pytest.fixture
def opened(shared):
    yield shared
    wrong, shared.wrong = shared.wrong, []
    assert wrong == []


@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_has_marks_and_nothing_leaves_the_window(open_page, width):
    opened = open_page(viewport={"width": width, "height": 900})
    names = opened.figures()
    assert len(names) > 17
    for name in names:
        figure = opened.show(name)
        assert figure.locator(MARKS).count() > 0, name
        box = figure.locator(".plot .main-svg").first.bounding_box()
        assert box["width"] <= figure.bounding_box()["width"], name
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_unit_class_sample_and_what_is_shown_are_chosen(opened, found):
    figure = opened.show("r0-trajectories")
    opened.choose(figure, "unit", 2)  # the second of the units in which classes differ most
    opened.choose(figure, "what", 1)
    unit = int(found.unit_order[1])
    lines = [t for t in opened.traces("r0-trajectories") if t["visible"] is True]
    assert len(lines) == 10
    for c, line in enumerate(lines):
        np.testing.assert_allclose(line["y"], found.state_mean[:, c, unit], rtol=1e-6)
    assert figure.locator(".ytitle").text_content() == "state x_t"
    figure = opened.show("r0-sample")
    opened.choose(figure, "sample", 7)
    traces = opened.traces("r0-sample")
    logits = [t["y"] for t in traces if t["type"] == "scatter"]
    np.testing.assert_allclose(logits, found.sample_logit[:, 7].T, rtol=1e-5, atol=1e-6)
    pushes, image = (t["z"] for t in traces if t["type"] == "heatmap")
    np.testing.assert_allclose(pushes, found.sample_contribution[:, 7].T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(image, found.sample_image[7], rtol=1e-6)


def test_the_slider_goes_through_the_layers_by_keyboard(opened, found):
    figure = opened.show("r0-projection")
    slider = figure.locator('input[type="range"]')
    assert figure.locator("output").inner_text() == "state 3"
    slider.focus()
    for _ in range(3):
        opened.page.keyboard.press("ArrowLeft")
    assert figure.locator("output").inner_text() == "state 0"
    opened.page.wait_for_timeout(200)
    clouds = [t for t in opened.traces("r0-projection") if t["visible"] and len(t["x"]) > 5]
    assert len(clouds) == 10
    for c, cloud in enumerate(clouds):
        x = np.array([np.nan if v is None else v for v in cloud["x"]])
        np.testing.assert_allclose(x, found.projected[0, c, :, 0], rtol=1e-5)


def test_a_class_is_switched_off_in_every_figure_by_keyboard(opened):
    opened.show("r0-trajectories")
    chip = opened.page.locator('[data-class="3"]')
    chip.focus()
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_timeout(200)
    assert chip.get_attribute("aria-pressed") == "false"
    for name in ("r0-trajectories", "r0-own-contribution"):
        opened.show(name)
        shown = {t["meta"]["class"] for t in opened.traces(name) if t["visible"] is True}
        assert shown == set(range(10)) - {3}
    opened.page.locator("#all-classes").click()
    opened.page.wait_for_timeout(200)
    assert all(t["visible"] is True for t in opened.traces("r0-own-contribution"))


def test_a_class_has_one_colour_in_every_figure(open_page):
    opened = open_page()
    colours = set()
    for name in ("r0-trajectories", "r0-own-contribution", "r0-decided", "r0-sensitive-unit"):
        opened.show(name)
        script = """name => document.querySelector(`#${name} .plot`)._fullData
            .filter(t => t.meta?.class === 4 && t.mode === 'lines+markers').map(t => t.line.color)"""
        colours |= set(opened.page.evaluate(script, name))
    assert len(colours) == 1
    chip = opened.page.locator('[data-class="4"] line')
    assert chip.get_attribute("stroke") in colours
    opened.page.locator("#theme").click()
    opened.page.wait_for_timeout(500)
    opened.show(name)
    assert opened.page.evaluate(script, name) == [chip.get_attribute("stroke")]
    assert chip.get_attribute("stroke") not in colours


def test_hover_tells_the_value(opened):
    figure = opened.show("r0-fisher")
    point = figure.locator(".scatterlayer path.point").first.bounding_box()
    opened.page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    opened.page.wait_for_selector("#r0-fisher .hoverlayer .hovertext", timeout=5000)
    assert "(0," in figure.locator(".hoverlayer .hovertext").first.text_content().replace(" ", "")


def test_a_click_on_a_pixel_chooses_it(opened, found):
    figure = opened.show("r0-helpers")
    box = figure.locator(".plot .nsewdrag").first.bounding_box()
    opened.page.mouse.click(box["x"] + box["width"] / 16, box["y"] + box["height"] / 16)
    opened.page.wait_for_timeout(500)
    chosen = int(figure.locator('[data-choice="pixel"]').input_value())
    assert int(found.pixel[chosen]) == 0
    np.testing.assert_allclose(opened.traces("r0-helpers")[0]["z"], found.helper[0, 0], rtol=1e-6)


def test_dark_follows_the_system_and_the_toggle(open_page):
    opened = open_page(color_scheme="dark")
    figure = opened.show("r0-depth")
    paper = "() => getComputedStyle(document.querySelector('#r0-depth .main-svg')).backgroundColor"
    assert opened.page.evaluate(paper) == "rgb(23, 27, 33)"
    toggle = opened.page.locator("#theme")
    assert toggle.inner_text() == "Light"
    toggle.click()
    opened.page.wait_for_timeout(500)
    assert opened.page.evaluate(paper) == "rgb(255, 255, 255)"
    assert toggle.inner_text() == "Dark"
    assert figure.locator(MARKS).count() > 0


def test_a_series_is_switched_off_by_its_key(opened):
    figure = opened.show("r0-depth")
    figure.locator(".key button", has_text="relative spread").press("Space")
    opened.page.wait_for_timeout(200)
    visible = {t["name"]: t["visible"] for t in opened.traces("r0-depth")}
    assert visible.pop("relative spread") is False
    assert all(v is True for v in visible.values())


HEATMAPS = ("r0-interactions", "r0-mean-contribution", "r0-windows", "r0-sample")


def sizes(opened):
    """Return of figures with a colour bar how much room is left for what is drawn."""
    for name in HEATMAPS:
        opened.show(name)
    opened.page.wait_for_timeout(1500)
    script = "n => (s => [s.w, s.h])(document.querySelector(`#${n} .plot`)._fullLayout._size)"
    return [opened.page.evaluate(script, name) for name in HEATMAPS]


def test_a_window_that_is_made_narrow_and_wide_shows_what_a_fresh_one_does(open_page):
    views = {w: {"width": w, "height": 900} for w in (1280, 390)}
    narrow, opened = (open_page(viewport=views[w]) for w in (390, 1280))
    fresh = {390: sizes(narrow), 1280: sizes(opened)}
    for width in (390, 1280):
        opened.page.set_viewport_size(views[width])
        np.testing.assert_allclose(sizes(opened), fresh[width], atol=2)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_run_hidden_while_the_theme_changed_is_drawn_whole(open_page, found, tmp_path, width):
    write_page(tmp_path / "two.html", "two", {"a": (SUMMARY, found), "b": (SUMMARY, found)})
    opened = open_page(tmp_path / "two.html", viewport={"width": width, "height": 900})
    shows = '[data-shows="{}"]'.format
    opened.page.locator(shows("r1")).click()
    opened.show("r1-depth")
    opened.page.locator(shows("r2")).click()
    opened.page.locator("#theme").click()
    opened.page.locator(shows("r1")).click()
    plot = opened.show("r1-depth").locator(".plot")
    opened.page.wait_for_timeout(500)
    drawn = plot.locator(".main-svg").first.bounding_box()["width"]
    assert drawn == pytest.approx(plot.bounding_box()["width"], abs=2)


def test_the_key_names_the_strengths_of_the_noise_that_is_chosen(opened, found):
    figure = opened.show("r0-signal-to-noise")
    kinds = found["noise"].values.tolist()
    signs = {"gaussian": "σ", "salt-and-pepper": "share"}
    for kind, sign in signs.items():
        opened.choose(figure, "noise", kinds.index(kind))
        strengths = found.noise_strength[kinds.index(kind)].values
        said = [button.inner_text() for button in figure.locator(".key button").all()]
        assert said == [f"{sign} = {s:g}" for s in strengths]
        assert [t["name"] for t in opened.traces("r0-signal-to-noise")] == said
    figure.locator(".key button").first.click()
    opened.page.wait_for_timeout(200)
    assert opened.traces("r0-signal-to-noise")[0]["visible"] is False


def test_the_name_of_a_picture_says_what_was_chosen(opened, found):
    figure = opened.show("r0-sample")
    opened.choose(figure, "sample", 5)
    name = rows_of(opened, figure, "png").suggested_filename
    label = found["class"].values[int(found.sample_label[5])]
    assert name.startswith(f"a-run-sample-sample-5-class-{label}-")
    assert name.endswith(".png")
    assert rows_of(opened, figure).suggested_filename == "a-run-sample.csv"  # holds all samples


def rows_of(opened, figure, kind="csv"):
    with opened.page.expect_download() as waiting:
        figure.locator(f'[data-download="{kind}"]').click()
    return waiting.value


def test_downloads_hold_what_is_stored(opened, found):
    done = rows_of(opened, opened.show("r0-depth"))
    assert done.suggested_filename == "a-run-depth.csv"
    with open(done.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in ("settle_distance", "spread", "curve_loss", "curve_loss_error"):
        dim = found[name].dims[0]
        got = {int(r[dim]): float(r["value"] or "nan") for r in rows if r["variable"] == name}
        np.testing.assert_allclose([got[int(t)] for t in found[dim]], found[name], rtol=1e-8)
    done = rows_of(opened, opened.show("r0-mean-contribution"))
    with open(done.path(), newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["variable"] == "mean_contribution"]
    assert len(rows) == found.mean_contribution.size
    for row in rows[::37]:
        at = {dim: row[dim] for dim in ("part", "class", "class_b")}
        assert float(row["value"]) == pytest.approx(
            float(found.mean_contribution.sel(at)), rel=1e-7
        )
    figure = opened.show("r0-depth")
    assert rows_of(opened, figure, "svg").path().read_text("utf-8").startswith("<svg")
    assert rows_of(opened, figure, "png").path().read_bytes().startswith(b"\x89PNG")


def test_text_of_data_is_shown_as_text(open_page, found, tmp_path):
    names = [EVIL, "<b>bold</b> & co", *map(str, range(2, 10))]
    evil = found.assign_coords({"class": names, "class_b": names})
    page_of(tmp_path / "evil.html", evil, name=EVIL)
    opened = open_page(tmp_path / "evil.html")
    for name in opened.figures():
        opened.show(name)
    assert opened.page.locator('[data-class="0"]').inner_text() == EVIL
    assert opened.page.locator("h2", has_text=EVIL).count() == 1
    ticks = opened.page.locator("#r0-mean-contribution .xaxislayer-above text").all_text_contents()
    assert ticks[:2] == names[:2]
    figure = opened.show("r0-own-contribution")
    point = figure.locator(".scatterlayer .trace").first.locator("path.point").first.bounding_box()
    opened.page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    opened.page.wait_for_selector("#r0-own-contribution .hovertext")
    hover = figure.locator(".hovertext .name, .hovertext .nums").all_text_contents()
    assert not opened.page.locator(".hovertext b").count(), hover
    done = rows_of(opened, figure)
    with open(done.path(), newline="", encoding="utf-8") as file:
        assert EVIL in {row["class"] for row in csv.DictReader(file)}


def test_a_page_with_holes_opens(open_page, found, tmp_path):
    poor = found.drop_vars(["projected", "gain", "interaction", "helper", "curve_loss"])
    poor = poor.assign(spread=poor.spread * np.nan)
    page_of(tmp_path / "poor.html", poor)
    opened = open_page(tmp_path / "poor.html")
    for name in opened.figures():
        assert opened.show(name).locator(MARKS).count() > 0, name
    assert opened.page.locator(".missing").count() >= 4


def test_a_network_of_1000_layers_renders_and_opens_in_time(chromium, tmp_path):
    deep = analysis_of(network(depth=1000))
    began = time.process_time()
    page = page_of(tmp_path / "deep.html", deep)
    assert time.process_time() - began <= 10
    assert len(page.encode()) <= LARGEST
    opened = Opened(chromium, tmp_path / "deep.html")
    opened.page.wait_for_selector("figure[data-drawn]", timeout=60_000)
    assert opened.spent("TaskDuration") <= 3  # of its own time; other processes may hold it up
    assert opened.page.locator("section .note", has_text="60 of 1000 layers").count() == 1
    for name in opened.figures():
        assert opened.show(name).locator(MARKS).count() > 0, name
    opened.context.close()
    assert opened.wrong == []
