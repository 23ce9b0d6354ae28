"""The benchmarks: their plumbing in the quick form, and the figures they make of known cells."""

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import residua as rs
from residua.bench.adaptive import RULES, EpsilonDepth
from residua.bench.adaptive_page import adaptive_tables, outcomes
from residua.bench.depth import cells_of, quick_tasks
from residua.bench.depth_cell import Bench
from residua.bench.depth_figures import depth_section
from residua.bench.depth_page import behind_paper, depth_markdown, lost_cells
from residua.bench.depth_tables import PATCHED, RANDOM, interval, led, recovered, standings
from residua.bench.flows import _at
from residua.bench.held import held_bytes
from residua.bench.maps import hopfield, pitchforks, residuals
from residua.bench.methods import METHODS, Given
from residua.bench.patch import with_patch
from residua.bench.roots import _scored
from residua.bench.tasks import trained as trained_model
from residua.bench.verdicts import half_depth, verdicts
from residua.losses import cross_entropy
from residua.stack import find_stages
from residua.stored import read_json, write_json
from residua.streaming import held_out_figures
from residua.training import fit
from test_cli import failing, residua


def figures(loss, error):
    return {"val_loss": float(loss), "loss": float(loss), "error": float(error)}


def method(raw, compensated, healed, **more):
    return {
        "keep": [1, 2],
        "raw": figures(raw / 10, raw),
        "compensated": figures(compensated / 10, compensated),
        "healed": figures(healed / 10, healed),
        **more,
    }


def cell(seed, ours, paper, **others):
    """A cell of a classifier, errors in percent by column; losses are a tenth of them."""
    methods = {
        "residua": method(*ours, plain=figures(ours[0] / 10, ours[0])),
        "paper": method(*paper),
    }
    methods |= {name.replace("_", "-"): method(*v) for name, v in others.items()}
    return {
        "task": "a task", "seed": seed, "keep": 2, "depth": 4, "methods": methods,
        "uncut": figures(0.2, 2.0), "scratch": figures(0.3, 3.0),
        "versions": {"torch": "2"}, "machine": "a machine", "command": "residua bench depth",
    }  # fmt: skip


def test_who_is_first_is_told_from_means_over_the_same_seeds():
    cells = [
        cell(0, (9, 3.0, 3.1), (9, 3.2, 3.0), greedy=(8, 3.5, 3.5), exhaustive=(7, 1, 1)),
        cell(1, (9, 3.2, 3.3), (11, 3.0, 3.0), greedy=(8, 3.5, 3.5), exhaustive=(7, 1, 1)),
    ]
    raw, compensated, healed = standings(cells)
    assert (raw.column, raw.best, raw.first) == ("raw", ("greedy", 8.0), False)
    assert raw.gap == pytest.approx(1)
    assert compensated.best[0] == "paper"  # the oracle is no rival
    assert compensated.gap == pytest.approx(0)
    assert compensated.first
    assert healed.gap == pytest.approx(0.2)
    assert not healed.first
    assert led([raw, compensated, healed]) == (1, 3)
    by = {
        n: [s.leads(n) for s in (raw, compensated, healed)]
        for n in ("residua", "paper", "greedy", "exhaustive")
    }
    assert by == {
        "residua": [False, True, False],
        "paper": [False, True, True],
        "greedy": [True, False, False],
        "exhaustive": [True, True, True],
    }
    assert not raw.leads("one that was refused")
    assert lost_cells([raw, compensated, healed]) == [
        "a task, 2 layers, raw: greedy is better by 1 ± 0 points",
        "a task, 2 layers, after healing: paper is better by 0.2 ± 1.3 points",
    ]
    assert behind_paper([raw, compensated, healed]) == ["a task, 2 layers, after healing: by 0.2"]
    page = depth_markdown(cells)
    assert "| uncut | 2.00 ± 0.00 | 2.00 ± 0.00 | 2.00 ± 0.00 |" in page
    assert "| all | 1 of 3 |" in page
    assert "The paired interval excludes 0 in 1 of these 2." in page
    assert "Not run here: digits-shared" in page


def test_unfinished_cells_do_not_count_and_draws_are_averaged():
    whole = cell(0, (9, 3, 3), (9, 4, 4), random_0=(5, 5, 5), random_1=(6, 7, 6))
    whole["methods"]["replaceme"] = method(9, 4, 4, patched=figures(0.35, 3.5))
    part = {k: v for k, v in cell(1, (1, 1, 1), (1, 1, 1)).items() if k != "scratch"}
    raw, compensated, _ = standings([whole, part])
    assert raw.seeds == 1
    assert raw.values[RANDOM] == [5.5]
    assert compensated.values[PATCHED] == [3.5]
    # Raw 0.9, uncut 0.2: 0.3 gives back 6 of 7 parts, ReplaceMe's 0.35 of its own raw 0.9.
    shares = recovered([whole, part])["a task", 2]
    np.testing.assert_allclose(shares, [0.6 / 0.7, 0.5 / 0.7, 0.55 / 0.7])


def test_losses_of_tokens_are_tied_within_a_percent():
    cells = [cell(0, (40, 40.3, 41), (40, 40, 40))]
    for one in cells:
        for m in (*one["methods"].values(), {"x": one["uncut"]}, {"x": one["scratch"]}):
            for found in m.values():
                if isinstance(found, dict):
                    found["error"] = None
    raw, compensated, healed = standings(cells)
    assert (raw.first, compensated.first, healed.first) == (True, True, False)
    assert "test loss, nats a token" in depth_markdown(cells)


def test_the_interval_is_that_of_student():
    values = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    mean, half = interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert math.isnan(interval([1.0])[1])


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    net = rs.ResNet(6, 8, 3, depth=5, weights="variable").eval()
    with torch.no_grad():
        for k, block in enumerate(net.blocks):
            block.linear.weight.mul_(3 + k)
    x = torch.randn(90, 6)
    batches = [(x[:50], torch.arange(50) % 3), (x[50:], torch.arange(40) % 3)]
    return Given(rs.find_stack(net), batches, batches, cross_entropy)


def test_the_exhaustive_search_is_one(given):
    plan = METHODS["exhaustive"].plan(given, 3)

    def loss(keep):
        state = given.stack.net.lift(torch.cat([x for x, _ in given.fit]))
        for t in range(5):
            state = given.stack.net.advance(t, state) if t + 1 in keep else state
        labels = torch.cat([y for _, y in given.fit])
        return float(torch.nn.functional.cross_entropy(given.stack.net.head(state), labels))

    with torch.no_grad():
        assert plan.keep == min(combinations(range(1, 6), 3), key=loss)


def test_epsilon_takes_the_smallest_maximum(given):
    plan = METHODS["epsilon"].plan(given, 2)
    y = rs.trace(given.stack.model, torch.cat([x for x, _ in given.fit])).residuals
    largest = y.detach().abs().amax((1, 2)).numpy()
    np.testing.assert_allclose(plan.scores, largest, rtol=1e-6)
    assert plan.keep == tuple(sorted(np.argsort(-largest)[:2] + 1))


def test_replaceme_removes_the_run_with_the_nearest_ends_and_patches_it(given):
    plan = METHODS["replaceme"].plan(given, 3)
    x = torch.cat([x for x, _ in given.fit])
    states = rs.trace(given.stack.model, x).states.detach()
    cosine = torch.nn.functional.cosine_similarity
    distance = [float(1 - cosine(states[t], states[t + 2]).mean()) for t in range(4)]
    first = int(np.argmin(distance)) + 1
    assert plan.keep == tuple(t for t in range(1, 6) if t not in (first, first + 1))
    # Where a layer stands before the gap, least squares brings the state after it nearer.
    plan = rs.DepthPlan(plan.names, (1, 2, 5), "by hand", (None,) * 5, "layers 3 and 4 go")
    M = (states[2] - states[1]).double().numpy()
    wanted = (states[4] - states[1]).double().numpy()
    T = np.linalg.lstsq(M, wanted, rcond=None)[0]
    after = states[1].numpy() + M @ T
    with torch.no_grad():
        net = given.stack.net
        logits = net.head(net.advance(4, torch.from_numpy(after).float()))
        small = with_patch(given, plan)
        torch.testing.assert_close(small(x), logits, atol=1e-4, rtol=1e-4)
    assert held_out_figures(small, given.held_out).samples == 90


def test_held_bytes_count_every_storage_once():
    model, x = torch.nn.Linear(10, 10), torch.randn(5, 10)
    y = torch.randn(100)
    found = {"a": [y[:50], y[50:]], "b": (np.zeros(20), model.weight, x[1:])}
    assert held_bytes(found, (model, x)) == 400 + 160
    trace = rs.trace(rs.ResNet(4, 6, 2, depth=3), torch.randn(7, 4))
    assert held_bytes(trace) >= 4 * 7 * (4 + 3) * 6


def test_the_quick_depth_benchmark_is_gone_on_with_cell_by_cell(tmp_path):
    out = tmp_path / "bench"
    done = residua("bench", "depth", "--quick", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)
    assert [c["task"] for c in cells] == ["quick-digits", "quick-gpt"]
    for one in cells:
        assert {"residua", "paper", "replaceme", "exhaustive", "random-4"} < set(one["methods"])
        found = [
            m[c]["loss"] for m in one["methods"].values() for c in ("raw", "compensated", "healed")
        ]
        assert np.isfinite(found).all()
        assert {len(m["keep"]) for m in one["methods"].values()} == {one["keep"]}
    page = (out / "depth.md").read_text("utf-8")
    assert "### where ours is first or tied" in page
    # What is stored is not done again; what is not there is.
    path = out / "cells" / "quick-digits-keep-3-seed-0.json"
    stored = read_json(path)
    stored["methods"]["paper"]["reason"] = "as it was"
    del stored["methods"]["taylor"]
    write_json(path, stored)
    done = residua("bench", "depth", "--quick", "--out", out)
    assert done.returncode == 0, done.stderr
    again = read_json(path)["methods"]
    assert again["paper"]["reason"] == "as it was"
    assert again["taylor"] == cells[0]["methods"]["taylor"]
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80  # without the path


def test_the_quick_trace_benchmark_measures_what_is_there(tmp_path):
    done = residua("bench", "trace", "--quick", "--quiet", "--out", tmp_path / "bench")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    found = read_json(tmp_path / "bench" / "trace.json")
    dense = found["models"][0]
    kept = dense["tools"]["residua.trace"]["bytes"]
    numbers = 50 * (31 * 128 + 10)  # 16 states, 15 residuals, the logits
    assert kept == 4 * numbers
    assert len(dense["tools"]["residua.trace"]["ratios"]) == 3
    assert min(dense["tools"]["residua.trace"]["ratios"]) > 0.5
    assert 0 < dense["tools"]["residua.accumulate"]["bytes"] < kept
    for model in found["models"]:
        assert set(model["not_run"].values()) <= {"not installed", "does not support this model"}
        assert {"residua.accumulate", "residua.trace"} <= set(model["tools"])


def test_what_the_benchmarks_refuse(tmp_path):
    failing("there is no task 'x'; pass one of digits-shared", "bench", "depth", "--task", "x",
            "--out", tmp_path / "a")  # fmt: skip
    failing("--quick has tasks of its own, so leave out --task gpt", "bench", "depth", "--quick",
            "--task", "gpt", "--out", tmp_path / "a")  # fmt: skip
    failing("there is no accelerator 'banana' here; pass another, such as 'cpu' or 'auto'", "bench",
            "depth", "--quick", "--accelerator", "banana", "--out", tmp_path / "a")  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_cells_are_those_of_the_seeds_asked_for():
    (task, _) = quick_tasks()
    names = [c.name for c in cells_of([replace(task, keeps=(3, 2))], range(3, 5))]
    assert names == [f"quick-digits-keep-{k}-seed-{s}" for s in (3, 4) for k in (3, 2)]


def test_the_quick_dynamics_benchmark_finds_what_is_known(tmp_path):
    done = residua("bench", "dynamics", "--quick", "--quiet", "--out", tmp_path / "bench")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    found = read_json(tmp_path / "bench" / "dynamics.json")
    ours = {m["name"]: m["solvers"]["residua.find_fixed_points"] for m in found["maps"]}
    assert ours["three pitchforks"] == {"points": 27, "known": 27, "loose": 27, "ratio": 1.0}
    assert ours["residual map"]["known"] == ours["residual map"]["points"] > 0
    for system in found["flows"]:
        # dopri5 and RK45 are one method: as many evaluations at the same error, but for the first step.
        at = {name: one["at"]["0.0001"] for name, one in system["methods"].items()}
        counts = [
            at[n]["evaluations"]
            for n in ("residua: ResidualMap.flow", "torchdiffeq dopri5", "scipy RK45")
        ]
        assert max(counts) < 1.2 * min(counts)
        coarse, *_, fine = system["methods"]["torchdiffeq midpoint"]["runs"]
        steps = coarse["setting"] / fine["setting"]
        assert np.log(coarse["error"] / fine["error"]) / np.log(steps) > 1.7  # of order 2


def test_points_count_once_and_only_where_the_map_rests():
    problem = pitchforks()
    p = problem.points
    ends = torch.cat([p[:3], p[:2] + 1e-12, p[5:6] + 1e-3, p[6:7] + 1e-7, p[:1] * torch.nan])
    assert _scored(problem, ends) == {"points": 3, "known": 3, "loose": 4}
    assert _scored(problem, p[:0]) == {"points": 0, "known": 0, "loose": 0}
    for planted in (hopfield(), problem, residuals()):
        torch.testing.assert_close(planted.step(planted.points), planted.points)


def test_costs_at_equal_error_lie_on_the_line_between_settings():
    runs = [
        {"error": 1e-2, "seconds": 1.0, "evaluations": 10.0},
        {"error": 1e-6, "seconds": 4.0, "evaluations": 1000.0},
    ]
    assert _at(runs, 1e-4) == pytest.approx({"seconds": 2.0, "evaluations": 100.0})
    assert _at(runs, 1e-1) == {"seconds": 1.0, "evaluations": 10.0}
    assert _at(runs, 1e-7) is None
    lost = {"error": float("nan"), "seconds": 0.1, "evaluations": 1.0}
    assert _at([lost, runs[1]], 1e-4) == {"seconds": 4.0, "evaluations": 1000.0}


def test_a_cell_of_another_task_of_the_same_name_is_refused(tmp_path):
    task = replace(quick_tasks()[0], keeps=(3,))
    path = tmp_path / "cell.json"
    Bench(task, 0, 3, tmp_path, path).path.parent.mkdir(exist_ok=True)
    made = {"methods": {}, "command": "", "versions": {}, "machine": ""}
    write_json(path, Bench(task, 0, 3, tmp_path, path)._made_of() | made)
    with pytest.raises(rs.InputError, match="holds results of another task of the same name"):
        Bench(replace(task, lr=1e-4), 0, 3, tmp_path, path).run(print, "")
    assert read_json(path)["methods"] == {}
    write_json(path, {"task": "quick-digits"})
    with pytest.raises(rs.DamagedError, match=r"lacks depth, keep, .* delete it, and the same"):
        Bench(task, 0, 3, tmp_path, path).run(print, "")


def test_methods_that_cannot_cut_to_a_depth_are_left_out():
    refused = {"refused": "no stage has so many"}
    cells = [cell(k, (9, 3, 3), (9, 4, 4), greedy=(8, 5, 5)) for k in (0, 1)]
    for one in cells:
        one["methods"]["angular"] = refused
    assert "angular" not in standings(cells)[0].values
    assert "| angular | – | – | – |" in depth_markdown(cells)


def test_replaceme_maps_the_channels_of_images():
    torch.manual_seed(0)
    net = rs.ConvResNet(1, 4, blocks=(3, 1, 1), width=4).eval()
    x = torch.randn(40, 1, 8, 8)
    batches = [(x, torch.arange(40) % 4)]
    given = Given(find_stages(net), batches, batches, cross_entropy)
    plan = rs.DepthPlan(given.stack.names, (1, 4, 5), "by hand", (None,) * 5, "two go")
    states = rs.trace(net, x, stage="stages.0").states.detach().double()
    y, wanted = (
        s.movedim(1, -1).reshape(-1, 4) for s in (states[1] - states[0], states[3] - states[0])
    )
    T = np.linalg.lstsq(y.numpy(), wanted.numpy(), rcond=None)[0]
    small = with_patch(given, plan)
    seen = []
    small.small.stages[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        small(x)
    change = (seen[0] - states[0]).movedim(1, -1).reshape(-1, 4)
    np.testing.assert_allclose(change.numpy(), y.numpy() @ T, atol=1e-4)


def test_half_depth_is_the_nearest_cut_and_the_longer_of_two():
    cells = [{"task": "a", "depth": 7, "keep": k} for k in (5, 4, 3)]
    cells += [{"task": "b", "depth": 12, "keep": k} for k in (9, 6, 3)]
    assert half_depth(cells) == {("a", 4), ("b", 6)}


def trained(rule, seed, val_loss, error, layers, depth):
    return {
        "task": "t", "said": "a net", "rule": rule, "seed": seed, "depth": depth, "depth_final": 1,
        "val_loss": val_loss, "error": error, "layer_epochs": layers, "seconds": float(layers),
        "command": "residua bench adaptive", "machine": "a machine", "versions": {"torch": "2"},
    }  # fmt: skip


def test_rules_are_held_against_the_grid_that_validation_chose():
    found = []
    for seed, best in ((0, 1.0), (1, 2.0)):
        found += [
            trained(None, seed, 0.3, 0.0, 10, 1),  # best in the test, but not in validation
            trained(None, seed, 0.2, best, 20, 2),
            *(trained(rule, seed, 9.0, best + 0.4, 3, 2) for rule in RULES),
        ]
    ours = outcomes(found)["t"][0]
    assert (ours.rule, ours.grid, ours.errors) == ("residua", (1.0, 2.0), (1.4, 2.4))
    assert (ours.layers, ours.seconds) == pytest.approx((0.1, 0.1))
    assert ours.gap == pytest.approx(0.4)
    assert ours.standard_error == pytest.approx(0.5)
    rows = {r[0]: r[1:] for r in verdicts([], found, None).rows}
    part = [r for r in found if r["seed"] == 0 or r["depth"] == 1]  # a seed that was stopped
    assert outcomes(part)["t"][0].grid == (1.0,)
    assert outcomes([r for r in found if r["rule"] is None]) == {}
    said = "t: test error above the grid's best"
    assert rows[said] == ["≤ 0.50 (one standard error)", "+0.40 points", "reached"]
    assert (
        "| residua | 1.0 | 1.90 ± 6.35 | +0.40 | 10.0% | 10.0% |"
        in adaptive_tables(found)[0].markdown()
    )


def test_verdicts_say_reached_and_missed():
    of = ((9, 3.0, 3.1), (9, 3.2, 3.0)), ((9, 3.2, 3.9), (9, 3.0, 3.0))
    cells = [cell(seed, *of[seed % 2]) for seed in range(6)]
    trace = {"models": [{"said": "a net", "tools": {
        "residua.accumulate": {"ratios": [1.0, 1.2, 9.0]}, "torchlens": {"ratios": [30.0]},
    }}]}  # fmt: skip
    rows = [tuple(r) for r in verdicts(cells, [], trace).rows]
    assert (
        "cells, of 5 seeds or more, in which ours is first or tied",
        "≥ 80%",
        "2 of 3 (67%)",
        "missed",
    ) in rows
    assert ("… behind the paper's rule by more than a tie", "0", "1", "missed") in rows
    few = verdicts(cells[:4], [], None).rows
    assert {r[-2] for r in few} == {"no cell of 5 seeds is done"}
    assert {r[-1] for r in few} == {"—"}
    assert ("loss given back by compensation: a task, 2 layers", "≥ 80%", "84%", "reached") in rows
    unfinished = [{k: v for k, v in c.items() if k != "scratch"} for c in cells]
    assert {r[-1] for r in verdicts(unfinished, [], None).rows} == {"—"}
    assert rows[-2:] == [
        ("streamed statistics over the forward pass: a net", "≤ 1.3", "1.20", "reached"),
        ("… times faster than torchlens", "≥ 5", "25.0", "reached"),
    ]
    trace["models"][0]["tools"]["torchlens"]["ratios"] = [4.5]
    assert verdicts([], [], trace).rows[-1] == [
        "… times faster than torchlens", "≥ 5", "3.8; if free, 4.5", "missed",
    ]  # fmt: skip


def test_the_figure_by_depth_holds_means_intervals_and_the_lines_beside_them():
    cells = [cell(k, (9, 3.0 + k, 3.1), (9, 3.2, 3.0), greedy=(8, 5, 5)) for k in (0, 1)]
    section = depth_section(cells)
    data = section.data
    at = {"task": "a task", "column": "compensated", "method": "residua"}
    assert float(data["value"].sel(at)[0]) == 3.5
    assert float(data["half_interval"].sel(at)[0]) == pytest.approx(interval([3.0, 4.0])[1])
    assert data["kept"].values.tolist() == [[2.0]]
    assert (float(data["uncut"][0, 0]), float(data["scratch"][0, 0])) == (2.0, 3.0)
    (figure,) = section.groups["Accuracy against depth"]
    assert figure.caption == (
        "a task with 2 layers and compensation: residua 3.5, the best of the others (paper) 3.2."
    )
    assert [t["name"] for t in figure.plot.traces] == [
        "residua", "greedy", "paper", "from scratch", "uncut",
    ]  # fmt: skip


def test_the_page_of_all_benchmarks_is_made_of_what_is_stored(tmp_path):
    for k in (0, 1):
        path = tmp_path / "depth" / "cells" / f"{k}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, cell(k, (9, 3.0, 3.1), (9, 3.2, 3.0)) | {"command": f"residua bench {k}"})
    out = tmp_path / "page.md"
    done = residua("bench", "page", tmp_path, "--out", out)
    assert done.returncode == 0, done.stderr
    page = out.read_text("utf-8")
    assert "- a task: `residua bench 0`; `residua bench 1`, a machine, torch 2\n" in page
    assert "### a task: 2 of 4 layers, 2 seeds, test error, %" in page
    assert "## Depth in training" not in page
    copied = tmp_path / "again" / "cells"
    copied.mkdir(parents=True)
    write_json(copied / "0.json", cell(0, (9, 3.0, 3.1), (9, 3.2, 3.0)))
    failing("one cell is there twice", "bench", "page", tmp_path, "--out", out)
    failing("holds no results of residua bench; pass the folder given to it as --out",
            "bench", "page", tmp_path / "nothing", "--out", out)  # fmt: skip
    assert out.read_text("utf-8") == page


def test_the_stored_page_is_that_of_the_stored_results(tmp_path, monkeypatch):
    root = Path(__file__).parent.parent
    monkeypatch.chdir(root)
    out = tmp_path / "page.md"
    done = residua("bench", "page", "docs/evidence/bench", "--out", out)
    assert done.returncode == 0, done.stderr
    stored = (root / "docs" / "benchmarks.md").read_text("utf-8")
    assert out.read_text("utf-8").replace(str(out), "docs/benchmarks.md") == stored


def test_the_quick_adaptive_benchmark_is_gone_on_with_training_by_training(tmp_path):
    out = tmp_path / "bench"
    done = residua("bench", "adaptive", "--quick", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(r["rule"], r["depth"]) for r in found] == [
        *((rule, 5) for rule in RULES), *((None, d) for d in range(1, 6)),
    ]  # fmt: skip
    grid = {r["depth"]: r for r in found if r["rule"] is None}
    assert all(r["layer_epochs"] == 6 * d == 6 * r["depth_final"] for d, r in grid.items())
    ours = found[0]
    assert ours["depth_final"] < 5
    assert ours["layer_epochs"] < 6 * 5
    path = next((out / "cells").glob("*epsilon*"))
    kept = read_json(path) | {"error": 77.0}
    write_json(path, kept)
    done = residua("bench", "adaptive", "--quick", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "77.00" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    failing("there is no task 'x'; pass one of digits-shared", "bench", "adaptive", "--task", "x",
            "--out", tmp_path / "a")  # fmt: skip


def test_epsilon_takes_the_layers_that_add_nothing(tmp_path):
    torch.manual_seed(0)
    net = rs.ResNet(64, 64, 10, depth=4, weights="variable")
    with torch.no_grad():
        net.blocks[1].linear.weight.zero_()
        net.blocks[1].linear.bias.fill_(-30.0)  # σ(−30) is 0 but for rounding
    data = rs.load_data("digits")
    config = rs.TrainConfig(epochs=1, batch_size=64, lr=1e-6, accelerator="cpu")
    fit(net, data, config, tmp_path, callbacks=(EpsilonDepth(),), progress=False)
    assert net.depth == 3


def test_a_damaged_model_is_named(tmp_path):
    task = quick_tasks()[0]
    path = tmp_path / f"{task.name}-0-3-layers-60-steps" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"not a model")
    with pytest.raises(rs.DamagedError, match="delete it, and the same command makes it anew"):
        trained_model(task, 3, 60, 0, tmp_path)
