"""Steps and readers of a cut dense network, fitted layer by layer along both networks' states."""

from torch import Tensor

from residua.depth.fit_job import Job, states_around, step_of
from residua.depth.least_squares import LeastSquares
from residua.nets import MLP, ResNet

SAMPLES = 65_536  # the states of so many are held, of the uncut and of the cut network
RIDGE = 1e-4


class Along:
    """The states of both networks over all batches, moved on layer by layer.

    Each layer runs once, so all fits together cost a forward pass of either network.
    """

    def __init__(self, job: Job, net: ResNet | MLP):
        self.job, self.net = job, net
        self.t = 0  # layers that the uncut states are behind
        self.old = [states_around(job.whole, 1, x)[0].clone() for x in job.inputs(SAMPLES)]
        self.new = list(self.old)

    def fit(self, *, readers: bool) -> None:
        """Fit every layer that stands for others or reads states that are not those of before."""
        for i, (_, last) in enumerate(self.job.plan.spans(self.job.whole.stages), 1):
            if readers and self.job.plan.keep[i - 1] > i:
                self._to(self.job.plan.keep[i - 1] - 1)
                self._fit_reader(i)
            self._to(last)
            after = [self.net.advance(i - 1, x) for x in self.new]
            if last > i and isinstance(self.net, ResNet):
                after = self._fit_step(self.net, i, after)
            self.new = after

    def _to(self, t: int) -> None:
        for u in range(self.t + 1, t + 1):
            self.old = [self.job.whole.run(u, x) for x in self.old]
        self.t = t

    def _fit_reader(self, i: int) -> None:
        """Let layer i make of the cut network's states what it made of the uncut one's."""
        assert isinstance(self.job.whole.net, ResNet | MLP)
        old, new = self.job.whole.net.block(self.t).linear, self.net.block(i - 1).linear
        fit = LeastSquares(self.new[0], old(self.old[0]))
        for before, state in zip(self.old, self.new, strict=True):
            fit.add(state, old(before))
        found = self.job.total(fit.result()).solve([RIDGE])[0]
        if bool(found.weight.isfinite().all()):
            new.weight.copy_(found.weight)
            new.bias.copy_(found.bias)

    def _fit_step(self, net: ResNet, i: int, after: list[Tensor]) -> list[Tensor]:
        """Scale what layer i adds, and return the states after it."""
        h = step_of(self.job, zip(self.new, after, self.old, strict=True))
        net.scale_layer(i, h)
        return [x + h * (now - x) for x, now in zip(self.new, after, strict=True)]
