# The public names, for type checkers; at run time __init__.py loads each on first use.
from residua.convnet import ConvResNet
from residua.data import DataSplits, load_data, loader
from residua.depth.adaptive import AdaptiveDepth
from residua.depth.adaptive_config import AdaptiveConfig
from residua.depth.adaptive_hf import AdaptiveDepthCallback
from residua.depth.compensation import Compensation
from residua.depth.controller import Decision, DepthController
from residua.depth.criteria import plan_depth
from residua.depth.curve import depth_curve, residual_probe
from residua.depth.curve_records import DepthCurve
from residua.depth.fit_job import FitOptions
from residua.depth.fitting import compensate
from residua.depth.oracle import Oracle, oracle
from residua.depth.plan import DepthPlan
from residua.depth.pruning import PruneConfig, PruneReport, prune
from residua.depth.similarity import Similarity, similarity
from residua.depth.surgery import apply, cut
from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.features import (
    Mantel,
    Shares,
    coupling,
    covariance,
    mantel,
    permuted,
    shares,
)
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.interactions import (
    Influences,
    Interactions,
    energy,
    helpers,
    influences,
    interactions,
    potential,
)
from residua.dynamics.linearised import Linearised, linearise
from residua.dynamics.portrait import Portrait, portrait
from residua.dynamics.prolonged import Prolonged, prolong
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.dynamics.response import response
from residua.dynamics.search import Search, SearchConfig, find_fixed_points
from residua.dynamics.stability import (
    eigenvalues,
    escape_time,
    finite_depth_exponents,
    leading_eigenvalues,
    map_jacobian,
    ode_jacobian,
    state_jacobians,
)
from residua.dynamics.sweep import critical_step_size, stability_sweep
from residua.errors import DamagedError, InputError, MissingExtraError, ResiduaError, StackError
from residua.healing import HealConfig, heal
from residua.layers import ResidualStack
from residua.loading import load
from residua.losses import each_token, next_token
from residua.moments import Moments
from residua.nets import MLP, ResNet
from residua.run_config import RunConfig
from residua.runs import Run
from residua.sources import Split
from residua.stack import FoundStack, find_blocks, find_stack, find_stages
from residua.statistics import Statistics, accumulate
from residua.store import NetConfig, build, save
from residua.streaming import HeldOut, held_out_figures
from residua.tracing import Trace, trace
from residua.train_config import TrainConfig
from residua.training import evaluate, fit
from residua.transients.attribution import (
    Attribution,
    ClassAttribution,
    attribute,
    attribute_classes,
    attribute_gradient,
    divide,
)
from residua.transients.decisions import Decisions, decisions
from residua.transients.disturbance import NoiseConfig
from residua.transients.first_order import noise_covariances
from residua.transients.lesions import Changed, lesions, swaps
from residua.transients.noise import Noise, noise
from residua.transients.perturbation import Gains, SampledGains, gains, sampled_gains
from residua.transients.separability import (
    SensitiveUnits,
    Separability,
    sensitive_units,
    separability,
)
from residua.transients.streamed import Measures, measures

__all__ = [
    "MLP",
    "AdaptiveConfig",
    "AdaptiveDepth",
    "AdaptiveDepthCallback",
    "Attribution",
    "Changed",
    "ClassAttribution",
    "Compensation",
    "ConvResNet",
    "DamagedError",
    "DataSplits",
    "Decision",
    "Decisions",
    "DepthController",
    "DepthCurve",
    "DepthPlan",
    "FitOptions",
    "FixedPoints",
    "FoundStack",
    "Gains",
    "HealConfig",
    "HeldOut",
    "Influences",
    "InputError",
    "Interactions",
    "Linearised",
    "Mantel",
    "Measures",
    "MissingExtraError",
    "Moments",
    "NetConfig",
    "Noise",
    "NoiseConfig",
    "Oracle",
    "Portrait",
    "Prolonged",
    "PruneConfig",
    "PruneReport",
    "ResNet",
    "ResiduaError",
    "ResidualMap",
    "ResidualStack",
    "Run",
    "RunConfig",
    "SampledGains",
    "Search",
    "SearchConfig",
    "SensitiveUnits",
    "Separability",
    "Shares",
    "Similarity",
    "Split",
    "StackError",
    "Statistics",
    "Trace",
    "TrainConfig",
    "accumulate",
    "apply",
    "attribute",
    "attribute_classes",
    "attribute_gradient",
    "build",
    "compensate",
    "coupling",
    "covariance",
    "critical_step_size",
    "cut",
    "decisions",
    "depth_curve",
    "divide",
    "each_token",
    "eigenvalues",
    "energy",
    "enumerate_fixed_points",
    "escape_time",
    "evaluate",
    "find_blocks",
    "find_fixed_points",
    "find_stack",
    "find_stages",
    "finite_depth_exponents",
    "first_pre_activation",
    "fit",
    "gains",
    "heal",
    "held_out_figures",
    "helpers",
    "influences",
    "interactions",
    "leading_eigenvalues",
    "lesions",
    "linearise",
    "load",
    "load_data",
    "loader",
    "mantel",
    "map_jacobian",
    "measures",
    "next_token",
    "noise",
    "noise_covariances",
    "ode_jacobian",
    "oracle",
    "permuted",
    "plan_depth",
    "portrait",
    "potential",
    "prolong",
    "prune",
    "residual_map",
    "residual_probe",
    "response",
    "sampled_gains",
    "save",
    "sensitive_units",
    "separability",
    "shares",
    "similarity",
    "stability_sweep",
    "state_jacobians",
    "swaps",
    "trace",
]
