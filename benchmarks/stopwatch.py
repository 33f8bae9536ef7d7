"""Where the time of an update goes: every moment belongs to exactly one section, so the sections add up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from rlenhance.agents import A3C
from rlenhance.learning.nn.distributions import JointDistribution

NETWORK = ("network, forward", "network, backward")
_FORWARD, _BACKWARD = NETWORK


class Stopwatch:
    """A stack of sections: time goes to the innermost one that is open.

    Attributes:
        seconds: section -> time, exclusive of what was open inside it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        """Open a section inside the present one."""
        self._bill()
        self._open.append(name)

    def leave(self) -> None:
        """Close the innermost section."""
        self._bill()
        self._open.pop()

    def leave_to(self, depth: int) -> None:
        """Close sections until `depth` of them are open."""
        while len(self._open) > depth:
            self.leave()

    @property
    def depth(self) -> int:
        """How many sections are open."""
        return len(self._open)

    @property
    def innermost(self) -> str:
        """The section that the clock runs for."""
        return self._open[-1] if self._open else ""

    def _bill(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time in a section."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            depth = self.depth
            self.enter(name)
            try:
                return function(*arguments, **named)
            finally:
                self.leave_to(depth)

        return wrapped


@contextmanager
def watched(learner: A3C) -> Iterator[Stopwatch]:
    """A stopwatch on the learner's updates, as long as the context lasts.

    The network is the backbone and the heads (of actions and of values). Forward: from the call of such a module to
    its return, in rollouts and in the epochs. Backward, as autograd works through the graph from its end: from the
    moment the gradient of a head's output is known until the head is through, and from the moment the gradient of the
    features is known until all parameters have theirs. Everything else is outside: statistics of the picture, sampling
    and log-probabilities, environment and reward, returns and advantages, losses and their own gradients, clipping,
    Adam, the log. (Pooling of the features for a coarser grid: forward outside, backward outside. With a recurrent
    backbone, what lies between two of its steps in the backward pass counts as network.)
    """
    watch, policy = Stopwatch(), learner.policy
    with ExitStack() as undo:
        heads = [*policy.heads.values(), *policy.values.values()]
        for module in (policy.backbone, *heads):
            undo.callback(module.register_forward_pre_hook(lambda *_: watch.enter(_FORWARD)).remove)
            undo.callback(module.register_forward_hook(_after_forward(watch, module in heads)).remove)
        for head in heads:
            undo.callback(head.register_full_backward_pre_hook(lambda *_: _network_begins(watch)).remove)
            undo.callback(head.register_full_backward_hook(lambda *_: _network_ends(watch)).remove)
        for owner, name, section in (
            (policy, "precompute", "statistics of the picture"),
            (JointDistribution, "sample", "sampling"),
            (JointDistribution, "log_prob", "log-probabilities"),
            (learner.env, "reset", "environment and reward"),
            (learner.env, "step", "environment and reward"),
            (learner, "_returns", "returns and advantages"),
            (learner, "_advantages", "returns and advantages"),
            (learner, "_losses", "losses and their gradients"),
            (learner.optimizer, "update", "losses and their gradients"),
        ):
            undo.callback(_replace(owner, name, watch.timed(section, getattr(owner, name))))
        undo.callback(_replace(learner, "step", watch.timed("the rest", learner.step)))
        yield watch


def _replace(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute; calling the result gives the owner its own back."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, own) if own is not None else delattr(owner, name)


def _after_forward(watch: Stopwatch, head: bool) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        watch.leave()
        if not head and isinstance(output[0], Tensor) and output[0].requires_grad:
            output[0].register_hook(lambda _: _backbone_begins(watch))

    return hook


def _network_begins(watch: Stopwatch) -> None:
    if watch.innermost != _BACKWARD:
        watch.enter(_BACKWARD)


def _network_ends(watch: Stopwatch) -> None:
    if watch.innermost == _BACKWARD:
        watch.leave()


def _backbone_begins(watch: Stopwatch) -> None:
    """Until the backward pass ends; what follows it in the update is the optimiser's."""
    _network_begins(watch)
    engine: Any = torch.autograd.Variable._execution_engine

    def ended() -> None:
        _network_ends(watch)
        if watch.innermost != "optimizer":
            watch.enter("optimizer")

    engine.queue_callback(ended)
