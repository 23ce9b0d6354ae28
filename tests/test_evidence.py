import numpy as np
import pytest

from residua.studies.evidence import circles_section, cost_section, section
from residua.studies.tables import interval


def summary(error, depth, **more):
    found = {"test_error": error, "depth_final": depth, "seconds": 2.0, "versions": {"torch": "1"}}
    return found | {"machine": "m, 2 threads"} | more


def test_students_interval():
    mean, low, high = interval(np.array([1.0, 2.0, 3.0]))  # t = 4.3027, sem = 1/√3
    assert mean == 2
    assert (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert np.isnan(interval(np.array([1.0]))[1])


def test_differences_are_paired_by_seed():
    found = {
        "none": {0: summary(2.0, 15), 1: summary(4.0, 15), 2: summary(9.0, 15)},
        "depth-curve": {0: summary(1.0, 3), 1: summary(3.0, 2)},
    }
    text = section("digits", found)
    assert (
        "| depth-curve | 2 of 10, incomplete | 2.00 % (1.00, 3.00) | 3, 2 | +1.00 [+1.00, +1.00], "
        "pairs: 2 | 2 (2), 2 (2) |" in text
    )
    assert "| none | 3 of 10, incomplete | 5.00 % (2.00, 4.00, 9.00) | 15, 15, 15 | – |" in text


def test_circles_report_the_rate_the_rest_and_the_depths():
    seeds = {
        0: summary(0.0, 15) | {"starts": 1},
        1: summary(0.5, 15) | {"starts": 10},
        2: summary(0.0, 4) | {"starts": 1},
    }
    text = circles_section({"none": seeds})
    assert "| none | 2 of 3 of 20, incomplete | 99.5 % | 4: 1, 15: 2 | 1: 2, 10: 1 |" in text
    assert "| – |" in circles_section({"none": {0: seeds[0]}})


def test_cost_reports_median_and_range_of_the_rounds():
    found = {"ratios": {"curve": [1.0, 5.0, 1.5]}, "bounds": {"curve": 2.3}}
    text = cost_section(found | {"machine": "m", "versions": {"torch": "1"}})
    assert "| curve | 1.50 (1.00, 5.00) | 2.3 |" in text
