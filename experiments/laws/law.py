"""A law: a function of a registered name that raises where the part breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch


class LawBroken(AssertionError):
    """A part breaks a law; the text says how."""


@dataclass(frozen=True)
class Law:
    """A law of the entries of a registry.

    Attributes:
        name: of the function.
        statement: what holds, a sentence.
        check: `(name, **config)` raises where the entry breaks the law; `config` are arguments of the part.
        concerns: `(name, **config)` -> whether the law is about this entry.
    """

    name: str
    statement: str
    check: Callable[..., None]
    concerns: Callable[..., bool]

    def __str__(self) -> str:
        return self.name


#: Laws by the kind of the registry ("backbone", "action set", "reward term", "learner", "model", "tool").
LAWS: dict[str, list[Law]] = {}


def law(kind: str, concerns: Callable[..., bool] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: enter a function as a law; the first line of its docstring is the statement."""
    def enter(check: Callable[..., None]) -> Callable[..., None]:
        statement = " ".join((check.__doc__ or "").split())
        LAWS.setdefault(kind, []).append(Law(check.__name__, statement, check, concerns or _always))
        return check

    return enter


def _always(name: str, **config: Any) -> bool:
    return True


def require(holds: Any, how: str) -> None:
    """Raise `LawBroken` with the text unless the condition holds."""
    if not bool(holds):
        raise LawBroken(how)


def cases(kind: str, names: Iterable[str]) -> list[tuple[Law, str]]:
    """The laws of a kind with every name that each concerns."""
    return [(law, name) for law in LAWS[kind] for name in names if law.concerns(name)]


def seeded() -> torch.Generator:
    """A random stream, the same at every call."""
    return torch.Generator().manual_seed(0)


def stir(network: Any, size: float = 0.1) -> Any:
    """The network with every weight moved a little: heads that begin at zero hide what stands behind them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def smooth_pictures(size: tuple[int, int] = (32, 40)) -> torch.Tensor:
    """Two smooth, dark pictures (2, 3, H, W)."""
    coarse = torch.rand(2, 3, 4, 5, generator=seeded())
    return 0.05 + 0.3 * torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
