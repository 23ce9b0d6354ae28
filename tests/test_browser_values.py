"""Every figure of a page of several runs, in a browser: what it shows is what is stored, for every run
and several options of each choice. What each figure must show: expected_figures.py."""  # fmt: skip

from itertools import product

import numpy as np
import pytest

from browser import Opened, need_a_browser
from expected_figures import FIGURES
from pages import SUMMARY, analysis_of, network, quarters
from residua.report.page import write_page

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


def test_every_figure_has_its_expectation_and_the_other_way_round(figures):
    assert {name for of_section in figures.values() for name in of_section} == set(FIGURES)


def test_blue_and_orange_mean_the_same_in_the_dark(opened, figures):
    opened.turn_to("one map")
    figure = figures["one map"]["interactions"]
    opened.show(figure)
    toggle = opened.page.locator("#theme")
    toggle.click()
    (picture,) = opened.seen(figure, {})[1]
    toggle.click()
    same_scale(picture["scale"], "diverging", "dark")


@pytest.mark.parametrize("name", FIGURES)
def test_every_trace_of_every_choice_is_what_is_stored(opened, figures, runs, name):
    for section in [s for s in figures if name in figures[s]]:
        figure = figures[section][name]
        opened.turn_to(section)
        opened.show(figure)
        for options in [{}, *some(opened.choices(figure))]:
            chosen, traces = opened.seen(figure, options)
            expected = FIGURES[name](runs.get(section, runs), chosen)
            compare(traces, expected, f"{section}, {name}, {chosen}")


def some(choices):
    """Return the first, middle and last option of each choice with those of the others."""
    of_each = [sorted({0, n // 2, n - 1}) for n in choices.values()]
    return [dict(zip(choices, options, strict=True)) for options in product(*of_each)]


def compare(traces, expected, where):
    left = list(traces)
    for want in expected:
        names = want["name"] if isinstance(want["name"], tuple) else (want["name"],)
        same = [t for t in left if t["kind"] == want["kind"] and t["name"] in names]
        assert same, (
            f"{where}: no {want['kind']} {names} in {[(t['kind'], t['name']) for t in left]}"
        )
        left.remove(same[0])
        for key in sorted(set(want) - {"kind", "name"}):
            SAME.get(key, same_values)(same[0].get(key), want[key], f"{where}: {key} of {names}")
    assert not left, f"{where}: {[(t['kind'], t['name']) for t in left]} beside what is expected"


def same_values(got, want, where):
    want = np.asarray(want)
    if want.dtype.kind == "U":
        assert got == want.tolist(), where
    else:
        got, want = np.array(got, dtype=float), np.where(np.isfinite(want), want, np.nan)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7, err_msg=where)


def same_scale(got, want, where):
    """Colours: blue above 0 and orange below, or more ink for more, or just the ends of the scale."""
    *ends, lowest, highest = got
    if want not in ("diverging", "grey"):
        assert (lowest, highest) == want, where
        return
    low, high = (np.array([int(c[k : k + 2], 16) for k in (1, 3, 5)]) for c in ends)
    if want == "grey":
        assert low.sum() > high.sum(), where
        return
    assert low[0] > low[2], where
    assert high[2] > high[0], where
    assert lowest == pytest.approx(-highest), where


SAME = {"scale": same_scale}


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
