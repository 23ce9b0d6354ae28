"""Imports go one way: errors, choices → nets, data → stack → tracing, statistics → dynamics → depth …"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import residua
from residua.augment import _crop_flip
from residua.studies.tables import in_three

ROOT = Path(__file__).parent.parent / "src" / "residua"
ORDER = [
    {"errors", "choices", "provenance", "distributed", "ports", "graph", "untying"},
    {"passes", "losses", "atomic", "moments"},
    {"stored"},
    {"nets", "convnet", "data", "sources", "layers", "calls"},
    {"parts"},
    {"readout", "discovery", "skipped"},
    {"model_store"},
    {"inputs"},
    {"store", "stack", "padding"},
    {"streaming"},
    {"tracing", "statistics", "running"},
    {"dynamics", "transients"},
    {"depth"},
    {"progress", "folder", "teaching"},
    {"train_config"},
    {"augment", "checkpoints", "trainers", "training_bar"},
    {"followed", "weights_seen"},
    {"overviews"},
    {"training", "healing", "analysis", "folder_kinds"},
    {"run_config", "run_checks"},
    {"runs"},
    {"run_training", "loading", "comparison"},
    {"pruned"},
    {"map_source", "model_source"},
    {"model_runs"},
    {"report"},
    {"studies"},
    {"bench"},
    {"terminal", "cli_options", "cli_fit_options", "cli_reproduce_options"},
    {"cli_models", "cli_evidence"},
    {"cli_experiments", "cli_depth", "cli_compare", "cli_bench"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
WITHIN_DEPTH = [
    {"plan", "spans", "least_squares", "similarity", "oracle", "compensation", "norms"},
    {"curve_records", "scores", "fit_job"},
    {"conv_fits", "dense_fits", "lists", "last_fits"},
    {"output_fit", "cut_checks", "folding"},
    {"found_curve", "body_fits", "head_fit"},
    {"curve"},
    {"planners"},
    {"criteria", "surgery"},
    {"fitting", "adaptive_config", "snapshot"},
    {"trained_layers"},
    {"evidence"},
    {"candidates"},
    {"controller", "pruning"},
    {"adaptive", "adaptive_hf"},
]
FILES = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT) != Path("__init__.py")]


def imported(path: Path) -> set[tuple[str, ...]]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("residua"):
            parts = tuple(node.module.split(".")[1:])
            found |= {parts} if parts else {(a.name,) for a in node.names}
            if len(parts) == 1:
                found |= {
                    (*parts, a.name)
                    for a in node.names
                    if (ROOT / parts[0] / f"{a.name}.py").exists()
                }
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    here = path.relative_to(ROOT).with_suffix("").parts
    for other in imported(path):
        if other[0] == here[0]:
            continue
        assert other[0] in RANK, f"{other[0]} has no place in the order"
        same = RANK[other[0]] == RANK[here[0]]
        assert RANK[other[0]] < RANK[here[0]] or (same and other[0] in ("nets", "sources")), (
            f"{'.'.join(here)} imports {'.'.join(other)}"
        )


def test_depth_goes_from_figures_to_plan_to_surgery():
    rank = {name: i for i, names in enumerate(WITHIN_DEPTH) for name in names}
    for path in (ROOT / "depth").glob("[a-z]*.py"):
        for other in imported(path):
            if other[0] == "depth" and len(other) > 1 and other[1] in rank:
                assert rank[other[1]] < rank[path.stem] or (
                    rank[other[1]] == rank[path.stem] == 0
                ), f"{path.stem} imports {other[1]}"


def test_scorers_never_touch_models_and_surgery_never_scores():
    allowed = {"curve_records", "oracle", "plan", "planners", "scores", "similarity", "spans"}
    for name in ("criteria", "planners", "scores"):
        assert {o[:2] for o in imported(ROOT / f"depth/{name}.py")} <= {
            ("errors",), ("statistics",), *(("depth", name) for name in allowed),
        }  # fmt: skip
    assert ("depth", "criteria") not in imported(ROOT / "depth/surgery.py")


def test_command_line_help_loads_nothing_heavy():
    code = (
        "import sys, residua.cli\n"
        "heavy = {'torch', 'numpy', 'xarray', 'lightning', 'plotly'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_type_checkers_see_the_names_that_are_loaded():
    tree = ast.parse((ROOT / "__init__.pyi").read_text("utf-8"))
    seen = {
        alias.name: node.module.removeprefix("residua.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    assert seen == residua._MODULE
    assert sorted(ast.literal_eval(listed)) == residua.__all__


def test_types_and_shapes_are_checked_in_every_test():
    with pytest.raises(TypeError, match="violates type hint <class 'float'>"):
        in_three(1, 0.0, 2.0)
    with pytest.raises(TypeCheckError, match="Type-check error whilst checking the parameters"):
        _crop_flip(torch.zeros(2, 3), torch.Generator())
