"""The words of the evidence page: what each experiment is, and where it differs from the paper's."""

from typing import NamedTuple

INTRO = """The paper's claims C1 to C14 with a verdict each, by experiments E1 to E8 (F. Lagzi, "Residual
networks classify inputs based on their neural transient dynamics", arXiv 2101.03009, which has no
code). Criteria were written before these results, in `src/residua/studies/claims.py`, with
knowledge of earlier results of other seeds (in the history of docs/evidence: e1, e3, e5, e6, e8);
those of C1 and C4 are of identities that a mistake of ours would break, all others are of what
the paper says of networks. Where the whole interval lies on the other side of a bound, the page
says "clearly not". Intervals are over seeds. A seed draws initial weights, batches and data: on
circles all points, on digits the three parts, on MNIST training and validation data (in E8 and
the networks of C14 the test part is fixed on digits, too). Depth, ridge and settings are chosen
on validation data; test data is read at the end, and in C10 says which networks are equally
accurate."""

ASSUMPTIONS = """What the paper leaves unsaid, and what is taken here:

- The input is lifted to N units by zeros, so that unit i is input dimension i.
- 1064 units on MNIST (784 input dimensions and 280 more), 256 on digits, 3 on circles; 15 layers.
- The classifier is K x(T) + c with softmax, for two classes as well.
- Recipe on MNIST and digits: inputs standardised, W from Xavier's normal distribution with gain 0.3,
  b = −3, AdamW with a one-cycle schedule, gradient norm clipped at 1, label smoothing of 0.1, on MNIST
  input dropout of 0.3; chosen on validation data. Circles: without weight decay and label smoothing,
  at a learning rate of 0.05, started anew until fitted. E8 has settings of its own, searched for each
  architecture.
- Settled: from where on the residuals move by less than 1 % between measured layers a fifth apart,
  within 1000 layers.
- Residuals y are what a layer adds, activities x the states.
- The paper's rule of adaptive depth is asked after every epoch with its threshold of 0.01."""


class Words(NamedTuple):
    """Title of an experiment, what it does, how that differs from the paper's, and what came of it.

    `otherwise`: what came out otherwise than in the paper, and why, as far as that is known.
    """

    title: str
    does: str
    differs: str
    otherwise: str = ""


EXPERIMENTS = {
    "c1": Words(
        "C1: residuals of every kind of network",
        "Untrained networks of all kinds, random inputs, float64: does the head of x_0 + Σ y_t "
        "give the logits, and is y_t what the layer's branches give, computed apart (by numpy; "
        "of convolutions by the block's branch, of GPT-2 and Llama by hooks on attention and "
        "MLP)?",
        "The paper has its own networks only.",
    ),
    "e1": Words(
        "E1: two circles",
        "15 shared layers of 3 logistic units; network, exact map y → σ(logit y + W y), and eq. 3.",
        "The paper shows one network; here one for each seed, started anew until the training "
        "points are fitted, at most 10 times. What residuals do after 15 layers is read from "
        "1000.",
        "All points of both classes at one stable point, as in the paper, is one outcome of "
        "several: with other seeds they rest at several points, or have not come to rest after "
        "1000 layers. Initial weights and points decide; the paper shows one network.",
    ),
    "e2": Words(
        "E2: shared weights",
        "15 layers, one matrix: test error, and what the layers do on test inputs.",
        "Digits (8 × 8, embedded, 256 units) stand beside MNIST, and alone in the quick form.",
    ),
    "e3": Words(
        "E3: E2's networks run for 1000 layers",
        "Where do residuals come to rest, and what rests there? On up to 1,000 test inputs, 200 of "
        "them one by one.",
        "The paper looks at 200 MNIST images of one network. Null models (C5): W permuted, and "
        "untrained.",
        "In the paper eq. 3 grows in one direction for three of ten classes; here it does in "
        "one or more for every class, and samples end near many patterns of saturated units. The "
        "paper does not say how its network was trained; ours starts from small weights and b = "
        "−3.",
    ),
    "e4": Words(
        "E4: variable weights",
        "15 layers with weights of their own, beside E2's of the same seed; C14's networks from "
        "several starts on digits.",
        "The paper compares two networks; C14 is asked over eight of each seed (quiet, plain, "
        "large: W from Xavier's normal distribution with gain 0.3 and b = −3, gain 1, gain 4; "
        "fast: quiet at four times the learning rate). On MNIST shared weights are trained for "
        "16 epochs with batches of 128, variable ones for 10 with batches of 256, as either does "
        "well in about the same time.",
        "The last layers' weights do not come to be one matrix: they stay about as far apart as "
        "unrelated ones, since nothing in our training draws them together. Nor does the spread "
        "vanish after the fourth layer. How the paper trained is not said.",
    ),
    "e5": Words(
        "E5: the most sensitive units, and what decides",
        "The unit with the largest weight to each class; accuracy of the head from parts of the "
        "sum alone.",
        "The division into transient and steady parts (C7) is ours; it needs networks that settle.",
        "Mostly fewer classes than the paper's nine of ten have the largest mean of their most "
        "sensitive unit, and how many depends on the seed: the paper shows one network.",
    ),
    "e6": Words(
        "E6: do the classes part?",
        "Means and spreads of the classes' states from x_1 to x_15, on test inputs.",
        "The Fisher ratio is added: means can part while spreads grow as fast.",
    ),
    "e7": Words(
        "E7: adaptive depth",
        "The paper's rule in training (after every epoch, threshold 0.01) and ours (depth-curve: "
        "the fewest layers from whose states a fitted head loses next to nothing), cuts after "
        "training, and how few layers then lose at most 0.01 nats on validation data.",
        "The paper's rule is reported on circles only; digits and MNIST are added.",
        "On circles with shared weights the rule goes further than to the paper's five layers. "
        "The paper does not say how often it is asked: after every epoch, as here, it can go on "
        "for as long as training does. With variable weights it keeps all, as in the paper, on "
        "digits and MNIST, but on circles with some seeds only.",
    ),
    "e8": Words(
        "E8: ResNet beside MLP under noise",
        "Same width, depth, parameters, data and steps, each with the best of the same settings "
        "by validation error, searched once with a seed of its own. Cells are named by weights, "
        "depth and training: noisy is with Gaussian noise of 0.5 on standardised inputs. Noise "
        "is of the input, in several strengths; layers: of every state; sign: along the "
        "network's own gradient.",
        "The paper quotes no figures; these are the first on record. Cells whose clean "
        "accuracies differ by more than half a point decide nothing. Depth 5 on MNIST was added "
        "after earlier results of other seeds, in which clean accuracies at depth 7 differed by "
        "more than that.",
        "Which of the two is more robust depends on the noise and on the cell. Along the sign of "
        "its own gradient the ResNet is in no cell that decides. To Gaussian, uniform and "
        "salt-and-pepper noise the MLP is, where networks of one or three layers are trained on "
        "clean data, and on MNIST by far; deeper ResNets mostly are. Over the layers noise grows "
        "in the ResNet and shrinks in the MLP, where the signal shrinks less: signal to noise at "
        "x_T is larger in the MLP in nearly every cell.",
    ),
}
