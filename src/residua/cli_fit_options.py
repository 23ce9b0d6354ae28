"""The options of `residua fit`: the network, its depth rule, its training."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from residua.choices import Activation, Adaptive, Augment, Lift, Net, Optimizer, Weights

Data = Annotated[
    str, typer.Argument(help="circles, digits, mnist, cifar10, or an .npz or parquet path.")
]
Out = Annotated[Path, typer.Option("--out", help="New folder for the run.")]

Kind = Annotated[Net, typer.Option(help="With or without the skip; conv: for images.")]
Depth = Annotated[int | None, typer.Option(help="T, layers; default 15, of conv 20 (6n + 2).")]
Width = Annotated[
    int | None,
    typer.Option(help="N, units; default: inputs and a third more. Of conv: channels, 16."),
]
Sharing = Annotated[
    Weights | None,
    typer.Option(help="Shared by all layers (of conv: of a stage) or variable, conv's default."),
]
Function = Annotated[Activation, typer.Option(help="f.")]
StepSize = Annotated[float, typer.Option(help="h in x + h·f(W x + b).")]
Lifting = Annotated[Lift, typer.Option(help="Zero-padding or a trained map.")]

Rule = Annotated[Adaptive, typer.Option(help="Rule that removes layers in training.")]
Threshold = Annotated[float, typer.Option(help="Of the rule 'paper'.")]
Tolerance = Annotated[
    float | None,
    typer.Option(help="Share by which held-out loss may rise; default 0.05 for 'spans'."),
]
Keep = Annotated[int, typer.Option(help="Fewest layers that the rule may leave.")]

Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
BatchSize = Annotated[int, typer.Option(help="Samples a step.")]
Rate = Annotated[float, typer.Option(help="Highest learning rate of the cycle.")]
Method = Annotated[Optimizer, typer.Option(help="sgd: with momentum 0.9.")]
Decay = Annotated[float, typer.Option(help="The optimizer's.")]
Smoothing = Annotated[float, typer.Option(help="Share of the target spread out.")]
Dropout = Annotated[float, typer.Option(help="Share of the inputs set to 0.")]
Noise = Annotated[float, typer.Option(help="Standard deviation of noise on the inputs.")]
Shifts = Annotated[Augment, typer.Option(help="Shift and flip images.")]
Precision = Annotated[str, typer.Option(help="Lightning's: 32-true, bf16-mixed, …")]
Accelerator = Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu, …")]


def fields_of(config: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of those options that a configuration has as fields."""
    return {f.name: given[f.name] for f in fields(config) if f.name in given}
