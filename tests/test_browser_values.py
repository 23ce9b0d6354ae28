"""Every figure of a page of several runs, in a browser: what it shows is what is stored, for every run
and several options of each choice. What each figure must show: expected_figures.py."""  # fmt: skip

from functools import partial

import pytest

from browser import Opened, need_a_browser
from expected_figures import FIGURES
from pages import SUMMARY, analysis_of, network, quarters
from residua.report.page import write_page
from traces import compare, every_figure, same_scale

need_a_browser()


@pytest.fixture(scope="module")
def runs():
    """Return analyses: of one map, of layers with weights of their own, and of few units."""
    few = network(depth=4, width=3, inputs=2, classes=4)
    return {
        "one map": analysis_of(network(), noisy=True),
        "own weights": analysis_of(network(depth=4, weights="variable"), noisy=True),
        "few units": analysis_of(few, data=quarters()),
    }


@pytest.fixture(scope="module")
def opened(chromium, runs, tmp_path_factory):
    where = tmp_path_factory.mktemp("page") / "report.html"
    write_page(where, "several runs", {name: (SUMMARY, found) for name, found in runs.items()})
    page = Opened(chromium, where)
    yield page
    page.context.close()
    assert page.wrong == []


@pytest.fixture(scope="module")
def figures(opened, runs):
    """Return of each section of the page the figures that it shows, by name."""
    found = {}
    for section in ("compared", *runs):
        if found:  # the first is shown when the page opens
            opened.turn_to(section)
        headings = opened.page.locator("section h2").all()
        assert [h.inner_text() for h in headings if h.is_visible()] == [section]
        pressed = opened.page.locator('[data-shows][aria-pressed="true"]')
        assert pressed.all_inner_texts() == [section]
        found[section] = {figure.split("-", 1)[1]: figure for figure in opened.figures()}
    return found


def test_blue_and_orange_mean_the_same_in_the_dark(opened, figures):
    opened.turn_to("one map")
    figure = figures["one map"]["interactions"]
    opened.show(figure)
    toggle = opened.page.locator("#theme")
    toggle.click()
    (picture,) = opened.seen(figure, {})[1]
    toggle.click()
    same_scale(picture["scale"], "diverging", "dark")


@pytest.mark.parametrize("section", ["compared", "one map", "own weights", "few units"])
def test_every_trace_of_every_choice_is_what_is_stored(opened, figures, runs, section):
    opened.turn_to(section)
    found = runs.get(section, runs)  # of several runs a figure draws all
    expected = {name: partial(FIGURES[name], found) for name in FIGURES}
    every_figure(opened, figures[section], expected)


def test_nothing_is_expected_of_a_figure_that_there_is_not(figures):
    assert {name for of_section in figures.values() for name in of_section} >= set(FIGURES)


def test_a_kind_of_noise_is_chosen_by_keyboard(opened, figures, runs):
    opened.turn_to("own weights")
    figure = figures["own weights"]["signal-to-noise"]
    control = opened.show(figure).locator("select")
    control.select_option("0")
    control.focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowDown")
    chosen, traces = opened.seen(figure, {})
    found = runs["own weights"]
    assert chosen == {"noise": str(found.noise.values[2])}
    compare(traces, FIGURES["signal-to-noise"](found, chosen), "by keyboard")
