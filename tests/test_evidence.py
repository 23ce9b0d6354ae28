import numpy as np
import pytest

from residua.studies.evidence import circles_section, section
from residua.studies.evidence_costs import (
    cost_section,
    dynamics_cost_section,
    fixed_points_section,
    streaming_section,
)
from residua.studies.evidence_depth import (
    adaptive_section,
    cifar10_section,
    criteria_section,
    latency_section,
    prune_section,
    time_section,
)
from residua.studies.evidence_seeds import e1_over_seeds, e3_over_seeds, e5_tables
from residua.studies.evidence_settings import e8_over_seeds, settings_table
from residua.studies.tables import interval, made


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


def test_depth_in_training_is_paired_and_timed():
    found = {
        "shared-none": {s: summary(1.0 + s, 15) | {"seconds": 200.0} for s in range(3)},
        "shared-spans": {s: summary(1.1 + s, 5) | {"seconds": 80.0} for s in range(2)},
    }
    text = adaptive_section(found)
    assert "| 1 | 2.00 % | 2.10 % | 5 | +0.10 | 40% |" in text
    assert "| 2 |" not in text
    assert (
        "Mean difference +0.10 [+0.10, +0.10] (bound +0.1); mean share of the seconds 40%" in text
    )


def test_cuts_are_compared_with_the_uncut_network_and_with_scratch():
    def cut(error):
        return summary(error, 3, test_error_uncut=1.0)

    found = {
        "shared-keep-3": {0: cut(1.2), 1: cut(1.4)},
        "shared-keep-3-healed": {0: cut(1.1), 1: cut(1.1)},
        "shared-scratch-3": {0: summary(1.3, 3), 1: summary(1.3, 3)},
        "shared-keep-8": {0: cut(1.0)},
    }
    text = prune_section(found)
    incomplete = "2 of 3, incomplete"
    assert (
        f"| shared-keep-3 | {incomplete} | 1.20, 1.40 | +0.30 [-0.97, +1.57] | +0.3 | – |" in text
    )
    assert (
        f"| shared-keep-3-healed | {incomplete} | 1.10, 1.10 | +0.10 [+0.10, +0.10] | – | -0.20"
        in text
    )
    assert f"| shared-scratch-3 | {incomplete} | 1.30, 1.30 | – | – | – |" in text
    assert "| shared-keep-8 | 1 of 3, incomplete | 1.00 | +0.00 | +0.05 | – |" in text


def test_cifar_shows_every_column_and_what_was_tried():
    tried = [
        {"criterion": "last", "keep": [1, 2], "kind": "none", "val_loss": 0.9},
        {"criterion": "spans", "keep": [1, 3], "kind": "readers", "val_loss": 0.5},
    ]
    cut = {"raw": 40.0, "compensated": 20.0, "tried": tried, "heal": {"lr": 0.02}}
    found = {
        "uncut": {0: summary(16.0, 20)},
        "cut": {0: summary(17.0, 16, val_loss_uncut=0.4) | cut},
        "scratch": {0: summary(18.0, 16)},
    }
    text = cifar10_section(found)
    assert "| 16.00 % | 40.00 % | 20.00 % | 17.00 % | 18.00 % |" in text
    assert text.index("| spans | readers | 1, 3 | 0.500 |") < text.index(
        "| last | none | 1, 2 | 0.900 |"
    )
    assert "learning rate 0.02" in text
    assert "(uncut 0.400 nats)" in text


def test_criteria_are_ordered_by_the_rise_of_the_loss():
    def seed(a, b):
        return summary(0, 0) | {
            "loss": 0.1,
            "losses": {"worse": [0.1, 0.2 + a], "better": [0.1, 0.105 + b]},
            "keep": [8, 3],
            "depth": 15,
            "kind": "steps",
        }

    text = criteria_section({"digits": {0: seed(0.0, 0.0), 1: seed(0.1, 0.02)}})
    assert text.index("| better |") < text.index("| worse |")
    assert "| better | 0.0 | 15.0 | 5.5 [-26.3, 37.3] |" in text
    assert "| worse | 0.0 | 150.0 | 8.0 [8.0, 8.0] |" in text
    assert "fewest" in text


def test_latency_of_a_cut_network_in_three_digits():
    found = {"ratios": {"cut": [1.0, 1.1, 1.005]}, "bounds": {"cut": 1.03}}
    text = latency_section(found | {"machine": "m", "versions": {"torch": "1"}})
    assert "| cut | 1.005 (1.000, 1.100) | 1.03 |" in text
    text = time_section(found | {"machine": "m", "versions": {}, "decision_seconds": 4.0})
    assert "| cut | 1.00 (1.00, 1.10) | 1.03 |" in text
    assert "Decisions: 4.0 s." in text


def test_cost_reports_median_and_range_of_the_rounds():
    found = {"ratios": {"curve": [1.0, 5.0, 1.5]}, "bounds": {"curve": 2.3}}
    text = cost_section(found | {"machine": "m", "versions": {"torch": "1"}})
    assert "| curve | 1.50 (1.00, 5.00) | 2.3 |" in text


def test_eq_3_departs_from_the_map_by_the_median_over_seeds():
    def seed(gap):
        sizes = ((1.0, 1.0), (1.0, 0.5), (2.0, 1.0), (2.0, 0.5))
        return {
            "departure": [{"gain": g, "step_size": h, "departure": gap * g * h} for g, h in sizes]
        }

    (table,) = e1_over_seeds({"circles": {0: seed(0.1), 1: seed(0.2), 2: seed(0.9)}})
    assert table.header == ["", "h = 1", "h = 0.5"]
    assert table.rows == [["1 W", "0.200", "0.100"], ["2 W", "0.400", "0.200"]]


def test_fixed_points_where_classes_are_are_counted_over_seeds():
    def at(verdict, unstable=0):
        return {"verdict": verdict, "unstable_dimension": unstable}

    def seed(*slowest):
        return {"classes": [{"at_mean": None, "at_slowest_sample": s} for s in slowest]}

    one, two = seed(at("saddle", 3), None), seed(at("stable"), at("saddle", 5))
    one["classes"][1]["at_mean"] = at("stable")
    (table,) = e3_over_seeds({"mnist": {0: one, 1: two}, "digits": {0: seed(None, None)}})
    saddles = "2, unstable in 3 to 5 dimensions"
    assert table.rows == [
        ["mnist", "1 of 4", "3 of 4", saddles, "1", "2"],
        ["digits", "0 of 2", "0 of 2", "0", "0", "1"],
    ]


def unit_seed(parts, *, own, layer=4):
    return {
        "own_largest": [True] * own + [False] * (10 - own),
        "settled": 30 if parts else None,
        "median_layer": layer,
        "windows": {"input": [10.0, 20.0 + own], "whole": [98.0, 98.0]},
        "parts": parts,
    }


def test_e5_over_seeds_has_c7_of_the_networks_that_settle():
    def parts(transient, steady):
        return {"input": [1.0, 2.0], "transient": [3.0, transient], "steady": [5.0, steady]}

    circles = {s: unit_seed(parts(90.0 + s, 60.0), own=6) for s in range(3)}
    circles[3] = unit_seed(None, own=8, layer=7)
    units, windows, c7 = e5_tables({"circles": circles, "mnist": {0: unit_seed(None, own=9)}})
    assert units.rows[1:] == [
        ["circles", "6 to 8 of 10", "3 of 4", "4 to 7", "4"],
        ["mnist", "9 of 10", "0 of 1", "4", "1"],
    ]
    assert windows.header == ["part", "circles, 4 seeds", "mnist, 1 seed"]
    assert windows.rows[0] == ["input", "10.0 / 26.5", "10.0 / 29.0"]
    gap = "31 [28.5, 33.5]"  # t = 4.3027
    assert c7.rows == [
        ["circles", "1.0 / 2.0", "3.0 / 91.0", "5.0 / 60.0", gap, "3, 0", "3 of 4"],
        ["mnist", "–", "–", "–", "–", "–", "0 of 1"],
    ]


def test_seeds_of_two_searches_have_a_table_each_and_one_setting_is_no_edge():
    def seed(error):
        tried = [{"lr": 0.1, "gain": g, "bias": 0.0, "val_error": error + g} for g in (4.0, 8.0)]
        return {"cells": [{"name": "c"}], "search": {"c-resnet": tried, "c-mlp": tried}}

    one, two = e8_over_seeds({"digits": {0: seed(1.0), 1: seed(60.0), 2: seed(1.0)}})
    assert [t.title.split(":")[0] for t in (one, two)] == ["digits, seeds 0, 2", "digits, seeds 1"]
    assert one.rows == [["c, ResNet", "5.0*", "9.0"], ["c, MLP", "5.0*", "9.0"]]
    assert "Of 2 searches 0 at the largest gain tried, 8: a wider" in one.note
    assert "learning rate tried" not in one.note
    assert one.note.endswith("a wider search may find better ones.")
    assert two.note.endswith("No start trains the MLP in c (error above 50 %).")


def test_where_no_usual_start_trains_the_mlp_is_said():
    def said(*errors):
        tried = [
            {"lr": 0.1, "gain": gain, "bias": 0.0, "val_error": error}
            for gain, error in zip((1.0, 8.0), errors, strict=True)
        ]
        best = sorted(tried, key=lambda s: s["val_error"])
        return settings_table("digits", [{"name": "c"}], {"c-resnet": best, "c-mlp": best})

    assert said(89.0, 82.0).rows[1] == ["c, MLP", "89.0", "82.0*"]
    usual = "No start of gain 1 or less trains the MLP in c (error above 50 %); "
    assert said(89.0, 82.0).note.endswith(usual + "none at all in c.")
    assert said(89.0, 2.0).note.endswith(usual + "some setting does in every cell.")
    assert said(9.0, 82.0).note.endswith("a wider search may find better ones.")


def test_machines_are_told_with_the_gpu_and_without_threads():
    said = made({"machine": "x86_64, 1 thread; x86_64, 2 threads, A GPU", "versions": {}})
    assert said.startswith("Machine: x86_64; x86_64, A GPU. ")


def test_costs_of_dynamics_are_ratios_of_one_run():
    found = {
        "prolonged": {"bare_seconds": 4.0, "seconds": 5.0, "ratios": [1.0, 1.5]},
        "eigenvalues": {"map": [1.0, 1.0, 1.25]},
        "memory_kib": {"100": 1024, "1000": 1024},
        "bounds": {"prolonged": 1.15, "eigenvalues": 1.2},
    }
    text = dynamics_cost_section(found | {"machine": "m", "versions": {"torch": "1"}})
    assert "| prolonged, all 2 batches | 1.25 (1.00, 1.50) | 1.15 |" in text
    assert "| eigenvalues, map | 1.00 (1.00, 1.25) | 1.2 |" in text
    assert "1 MiB for 100 layers, 1 MiB for 1000 layers" in text


def test_a_missed_target_is_said():
    def adam(faster):
        time = {"adam_rate": 0.1, "adam_reaches": 1e-12, "adam_seconds": 1.0, "seconds": 0.5}
        return {"all": time | {"times_faster": faster}}

    def searched(faster, far):
        counts = {"planted": 3, "points": 5, "stable": 2, "attractors": 2, "seconds": 0.5}
        gaps = {"farthest_planted": 1e-14, "farthest_stable": far, "largest_speed": 1e-16}
        return counts | gaps | {"adam": adam(faster)}

    made = {"bound": 50, "machine": "m", "versions": {"torch": "1"}}
    text = fixed_points_section(made | {"maps": {"a": searched(60.0, 1e-9)}})
    assert (
        "Asked for: 50 times faster; reached. The map itself leads to 2 points, each found." in text
    )
    text = fixed_points_section(made | {"maps": {"a": searched(49.0, 1e-2)}})
    assert (
        "50 times faster; not reached. Of the points to which the map leads, some are missed."
        in text
    )


def test_streaming_cost_reports_ratios_and_memory():
    found = {
        "ratios": {"all": [1.0, 1.5, 1.25]},
        "bounds": {"all": 1.5},
        "memory_kib": {"2000": 2048},
    }
    text = streaming_section(found | {"machine": "m", "versions": {"torch": "1"}})
    assert "| all | 1.25 (1.00, 1.50) | 1.5 |" in text
    assert "2 MiB for 2000 samples" in text
