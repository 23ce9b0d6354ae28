"""The paper's claims C1–C14, and by what each is decided; written before the results were made.

A claim has parts. Each part has a statistic of one seed and a criterion over seeds that can fail; where
a direction is claimed, the other direction is told apart ("reversed"). When a claim holds, in part or
not is told by :class:`residua.studies.verdicts.Claim`.

Chosen with knowledge of earlier results of other seeds (circles 0 to 19, digits 0 to 9, MNIST 0 to 2;
quick forms of seeds 0 to 4), which is why the stored results of docs/evidence/paper begin with seed
100.
"""

from residua.studies.claim_values import (
    between_nets,
    each,
    early_over_late,
    gain_fallen,
    growth,
    more_robust,
    of_parts,
    over_nulls,
    pushes,
    signal_kept,
    with_rest,
)
from residua.studies.e8 import STRENGTHS
from residua.studies.verdicts import Claim, Mean, Part, Rate, Tolerance

CIRCLES = ("e1/circles",)
BOTH = ("e5/digits", "e5/mnist")
UNCERTAIN = 0.5  # points of accuracy that a cut may cost (C12)

CLAIMS = (
    Claim(
        "C1",
        "Residuals and activities can be told apart at every layer of any residual network.",
        (
            Part(
                "K x_0 + Σ K y_t + c less the logits, over the largest logit; worst of all families",
                ("c1/families",),
                each(lambda r: max(f["logits"] for f in r["families"].values())),
                Tolerance(1e-9),
            ),
            Part(
                "y_t less what the layer's branches give, computed apart; worst of all families but ViT",
                ("c1/families",),
                each(lambda r: max(f["branch"] for f in r["families"].values() if "branch" in f)),
                Tolerance(1e-12),
            ),
        ),
    ),
    Claim(
        "C2",
        "Residuals of logistic networks with shared weights obey eq. 3.",
        (
            Part(
                "eq. 3 less the network: mean abs of class means of y_t, of 1",
                (*CIRCLES, "e2/digits", "e2/mnist"),
                each(lambda r: r["eq3"]["ode"]),
                Mean("below", 0.05),
                "reproduces them",
            ),
            Part(
                "share of the change of y_t over depth that eq. 3 tells: 1 − its error over that of y_1",
                (*CIRCLES, "e2/digits", "e2/mnist"),
                each(lambda r: 1 - r["eq3"]["ode"] / r["eq3"]["constant"]),
                Mean("above", 0.8),
                "reproduces it",
            ),
        ),
    ),
    Claim(
        "C3",
        "Cooperation, competition and predation between units are read from W.",
        tuple(
            Part(
                f"pairs of units in {kind} ({signs}): a push of either moves what the other adds from "
                "then on as the sign of its weight says, both of them (chance: 0.25)",
                (*CIRCLES, "e2/digits", "e2/mnist"),
                each(pushes(kind)),
                Mean("above", 0.5),
            )
            for kind, signs in (
                ("cooperation", "w_ij, w_ji > 0"),
                ("competition", "w_ij, w_ji < 0"),
                ("predation", "of opposite signs"),
            )
        ),
    ),
    Claim(
        "C4",
        "Fixed points can be enumerated, found and classified.",
        (
            Part(
                "largest step at an enumerated point",
                CIRCLES,
                each(lambda r: r["points"]["residual"]),
                Tolerance(1e-9),
            ),
            Part(
                "points whose verdict the map run on from beside them confirms",
                CIRCLES,
                each(lambda r: r["points"]["confirmed"]),
                Mean("above", 0.95),
            ),
            Part(
                "points that a search from 2,000 random starts finds",
                CIRCLES,
                each(lambda r: r["points"]["found"]),
                Mean("above", 0.9),
            ),
        ),
    ),
    Claim(
        "C5",
        "Steady residuals show features common to input dimensions, as training has encoded them.",
        tuple(
            Part(
                f"{what}: rank correlation with the covariance of the training inputs, less the "
                "larger of the same with permuted W and untrained",
                ("e3/digits", "e3/mnist"),
                over_nulls(name),
                Mean("above", 0.0),
            )
            for name, what in (
                ("coactivity", "steady co-activity of pairs of inputs"),
                ("coupling", "½(w_ij + w_ji) of pairs of inputs"),
            )
        ),
    ),
    Claim(
        "C6",
        "Without an attractor, transients still separate the classes.",
        (
            Part(
                "log Fisher ratio at x_T over that at x_1, networks that have not settled",
                ("e6/digits", "e6/mnist"),
                growth("fisher", unsettled=True),
                Mean("above", 0.0),
                "class means part with depth",
            ),
        ),
    ),
    Claim(
        "C7",
        "The class is decided by the sum of the residuals over transients, not by steady values alone.",
        (
            Part(
                "accuracy of the whole sum less that of the steady part, points; networks that settle",
                ("e5/circles", *BOTH),
                of_parts("whole"),
                Mean("above", 0.0),
            ),
            Part(
                "accuracy of the transient part less that of the steady part, points; likewise",
                ("e5/circles", *BOTH),
                of_parts("transient"),
                Mean("above", 0.0),
            ),
        ),
    ),
    Claim(
        "C8",
        "Perturbations at early layers cost more than at late ones.",
        (
            Part(
                "log of the logits' gain from x_0 over that from x_{T−1}, ResNet",
                ("e8/digits", "e8/mnist"),
                early_over_late("resnet"),
                Mean("above", 0.0),
                "larger",
            ),
        ),
    ),
    Claim(
        "C9",
        "ResNet and MLP differ in dynamics and in how noise evolves.",
        tuple(
            Part(
                f"{what}, ResNet less MLP",
                ("e8/digits", "e8/mnist"),
                between_nets(of),
                Mean("without", 0.0),
                "differ in kind",
            )
            for what, of in (
                ("log signal to noise kept from x_0 to x_T", signal_kept),
                ("log of early over late gain", gain_fallen),
            )
        ),
    ),
    Claim(
        "C10",
        "The ResNet is more robust to noisy inputs.",
        tuple(
            Part(
                f"accuracy under {kind} noise, ResNet less MLP, points",
                ("e8/digits", "e8/mnist"),
                more_robust(kind),
                Mean("above", 0.0),
                "the ResNet is",
            )
            for kind in STRENGTHS
            if kind != "layers"  # noise within the network, not of its input
        ),
    ),
    Claim(
        "C11",
        "The adaptive-depth rule takes layers away while the network trains.",
        (
            Part(
                "seeds with fewer than 15 layers at 100 % test accuracy",
                ("e7/circles-shared",),
                each(lambda r: float(r["paper"]["layers"] < 15 and r["paper"]["test_error"] == 0)),
                Rate(0.5),
                "15 → 5 at 100 %",
            ),
            Part(
                "seeds in which variable weights keep all 15",
                ("e7/circles-variable",),
                each(lambda r: float(r["paper"]["layers"] == 15)),
                Rate(0.5),
                "keeps all 15",
            ),
        ),
    ),
    Claim(
        "C12",
        "Accuracy holds after the depth is cut.",
        (
            Part(
                "accuracy with the paper's rule in training less uncut, points; where it cut",
                (
                    "e7/circles-shared",
                    "e7/digits-shared",
                    "e7/digits-variable",
                    "e7/mnist-shared",
                    "e7/mnist-variable",
                ),
                each(
                    lambda r: (
                        r["uncut"]["test_error"] - r["paper"]["test_error"]
                        if r["paper"]["layers"] < r["uncut"]["layers"]
                        else None
                    )
                ),
                Mean("above", -UNCERTAIN),
                "100 % with 5 of 15",
            ),
            Part(
                "accuracy with half the layers taken after training less uncut, points",
                ("e7/digits-shared", "e7/digits-variable", "e7/mnist-shared", "e7/mnist-variable"),
                each(lambda r: r["uncut"]["test_error"] - r["half"]["test_error"]),
                Mean("above", -UNCERTAIN),
            ),
        ),
    ),
    Claim(
        "C13",
        "A 15-layer network run for 1000 layers settles, or leaves a saddle slowly.",
        (
            Part(
                "samples whose residuals move by less than 0.01 a layer at layer 1000",
                ("e3/digits", "e3/mnist"),
                each(lambda r: r["single_samples"]["slow"]),
                Mean("above", 0.95),
                "almost all",
            ),
            Part(
                "median speed of a sample at layer 1000 over that at layer 15",
                ("e3/digits", "e3/mnist"),
                each(lambda r: r["single_samples"]["slower"]),
                Mean("below", 0.1),
            ),
        ),
    ),
    Claim(
        "C14",
        "Several class-specific fixed points go with a lower error than one common point.",
        (
            Part(
                "rank correlation over networks: share of last residuals between classes, test error",
                ("e4/digits-starts",),
                each(with_rest),
                Mean("below", 0.0),
            ),
            Part(
                "test error with shared weights less with variable ones, points",
                ("e4/digits", "e4/mnist"),
                each(lambda r: r["shared"]["test_error"] - r["test_error"]),
                Mean("below", 0.0),
                "1.4 % less 1.8 %",
            ),
            Part(
                "share of the last residuals between classes, shared less variable weights",
                ("e4/digits", "e4/mnist"),
                each(lambda r: r["shared"]["class_share"] - r["class_share"]),
                Mean("above", 0.0),
                "several points, one common",
            ),
        ),
    ),
)
