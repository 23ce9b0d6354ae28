"""Every figure of experiments, of a matrix and of a model in a browser: it shows what is stored."""

import pytest

from browser import Opened, need_a_browser
from expected_experiments import everything
from residua.report.page import Words, write_sections
from traces import every_figure

need_a_browser()


@pytest.fixture(scope="module")
def expected():
    return everything()


@pytest.fixture(scope="module")
def opened(chromium, expected, tmp_path_factory):
    where = tmp_path_factory.mktemp("page") / "report.html"
    sections = {name: section for name, (section, _) in expected.items()}
    write_sections(where, Words("experiments", "All at random."), sections)
    page = Opened(chromium, where)
    yield page
    page.context.close()
    assert page.wrong == []


@pytest.mark.parametrize("section", ["E1", "E3", "E8", "matrix", "model", "evidence"])
def test_every_trace_of_every_choice_is_what_is_stored(opened, expected, section):
    opened.turn_to(section)
    figures = {figure.split("-", 1)[1]: figure for figure in opened.figures()}
    assert set(figures) >= set(expected[section][1])
    every_figure(opened, figures, expected[section][1])
