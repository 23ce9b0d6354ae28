"""Residual networks as dynamical systems over depth.

Names load on first use, so that `import residua` and the command line start at once.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "data": ("DataSplits", "load_data", "loader"),
    "sources": ("Split",),
    "convnet": ("ConvResNet",),
    "depth.adaptive": ("AdaptiveDepth",),
    "depth.adaptive_hf": ("AdaptiveDepthCallback",),
    "depth.compensation": ("Compensation",),
    "depth.adaptive_config": ("AdaptiveConfig",),
    "depth.controller": ("Decision", "DepthController"),
    "depth.fit_job": ("FitOptions",),
    "depth.fitting": ("compensate",),
    "depth.oracle": ("Oracle", "oracle"),
    "depth.similarity": ("Similarity", "similarity"),
    "depth.criteria": ("plan_depth",),
    "depth.curve": ("depth_curve", "residual_probe"),
    "depth.curve_records": ("DepthCurve",),
    "depth.plan": ("DepthPlan",),
    "depth.pruning": ("PruneConfig", "PruneReport", "prune"),
    "depth.surgery": ("apply", "cut"),
    "dynamics.enumeration": ("enumerate_fixed_points",),
    "dynamics.fixed_points": ("FixedPoints",),
    "dynamics.interactions": (
        "Influences",
        "Interactions",
        "energy",
        "helpers",
        "influences",
        "interactions",
        "potential",
    ),
    "dynamics.features": (
        "Mantel",
        "Shares",
        "coupling",
        "covariance",
        "mantel",
        "permuted",
        "shares",
    ),
    "dynamics.linearised": ("Linearised", "linearise"),
    "dynamics.response": ("response",),
    "dynamics.portrait": ("Portrait", "portrait"),
    "dynamics.prolonged": ("Prolonged", "prolong"),
    "dynamics.sweep": ("critical_step_size", "stability_sweep"),
    "dynamics.residual_map": (
        "ResidualMap",
        "first_pre_activation",
        "residual_map",
    ),
    "dynamics.search": (
        "Search",
        "SearchConfig",
        "find_fixed_points",
    ),
    "dynamics.stability": (
        "eigenvalues",
        "escape_time",
        "finite_depth_exponents",
        "leading_eigenvalues",
        "map_jacobian",
        "ode_jacobian",
        "state_jacobians",
    ),
    "errors": ("DamagedError", "InputError", "MissingExtraError", "ResiduaError", "StackError"),
    "nets": ("MLP", "ResNet"),
    "healing": ("HealConfig", "heal"),
    "layers": ("ResidualStack",),
    "stack": ("FoundStack", "find_blocks", "find_stack", "find_stages"),
    "loading": ("load",),
    "run_config": ("RunConfig",),
    "runs": ("Run",),
    "losses": ("each_token", "next_token"),
    "streaming": ("HeldOut", "held_out_figures"),
    "moments": ("Moments",),
    "statistics": ("Statistics", "accumulate"),
    "store": ("NetConfig", "build", "save"),
    "tracing": ("Trace", "trace"),
    "train_config": ("TrainConfig",),
    "training": ("evaluate", "fit"),
    "transients.attribution": (
        "Attribution",
        "ClassAttribution",
        "attribute",
        "attribute_classes",
        "attribute_gradient",
        "divide",
    ),
    "transients.decisions": ("Decisions", "decisions"),
    "transients.disturbance": ("NoiseConfig",),
    "transients.first_order": ("noise_covariances",),
    "transients.lesions": ("Changed", "lesions", "swaps"),
    "transients.noise": ("Noise", "noise"),
    "transients.perturbation": ("Gains", "SampledGains", "gains", "sampled_gains"),
    "transients.streamed": ("Measures", "measures"),
    "transients.separability": (
        "SensitiveUnits",
        "Separability",
        "sensitive_units",
        "separability",
    ),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'residua' has no attribute {name!r}")
    module = f"residua.{_MODULE[name]}"
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("residua"):
            raise
        from residua.errors import MissingExtraError

        extra = "hf" if name == "AdaptiveDepthCallback" else "train"
        raise MissingExtraError(error.name or "", extra, f"residua.{name}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
