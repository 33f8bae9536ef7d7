"""User-defined reward terms: named `module:function`, imported as Python imports modules, validated first."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import digest_of, import_named
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards.base import TERMS, RewardTerm, Transition, check_cost, state_term

_SHADES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # mean brightness of the pictures that are tried


@dataclass(frozen=True)
class TermSource:
    """Origin of a user-defined term.

    Attributes:
        source: `module:function`.
        folder: folder in which the module was found.
        file: path of the module.
        digest: BLAKE2 digest of the file.
    """

    source: str
    folder: str
    file: str
    digest: str


#: Origins of the terms that `load_terms` has registered, by name.
SOURCES: dict[str, TermSource] = {}


def registered_sources() -> dict[str, dict[str, str]]:
    """Origins of the loaded terms, for config.json and for other processes: name -> fields of its `TermSource`."""
    return {name: dataclasses.asdict(source) for name, source in SOURCES.items() if name in TERMS}


def load_terms(sources: Iterable[str], known: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """Load user-defined reward terms; those that are loaded already stay as they are.

    A function that the module registers with `@state_term` or `@action_term` is that term; any other function
    `f(image, transition) -> cost map` becomes a state term of its own name and weight 1. Each is validated on test
    images.

    Args:
        sources: `module:function` each; the module is searched in the current folder and on Python's path.
        known: name -> fields of a `TermSource` that a run has stored: its folder is searched too, and a module that
            has changed since is reported on standard error.

    Returns:
        The names of the terms.

    Raises:
        UsageError: no such module or function, a module that fails, a name that is taken, a term that fails on test
            images; nothing is registered then.
    """
    fields = [field.name for field in dataclasses.fields(TermSource)]
    kept = {about.get("source"): TermSource(*(about.get(field, "") for field in fields))
            for about in (known or {}).values()}
    return [_load(source, kept.get(source)) for source in sources]


def _load(source: str, kept: TermSource | None) -> str:
    for name, found in SOURCES.items():
        if found.source == source and name in TERMS:
            return name
    module_name, sign, function = source.partition(":")
    fine = function.isidentifier() and all(map(str.isidentifier, module_name.split(".")))
    if not sign or not fine or module_name.endswith(".py"):
        raise UsageError(f"a reward term is written module:function, as in my_rewards:edges for the function edges in "
                         f"my_rewards.py; got {source!r}")
    terms, modules = set(TERMS), set(sys.modules)
    try:
        module = import_named(module_name, (str(Path.cwd()), kept.folder if kept else ""),
                              "the run needs its reward term: put it back, or " if kept else "")
        term = _term(module, function)
        validate_term(term)
    except BaseException:
        for name in set(TERMS) - terms:
            TERMS.remove(name)
        if module_name not in modules:
            sys.modules.pop(module_name, None)
        raise
    found = _source_of(source, module)
    if kept is not None and kept.digest != found.digest:
        print(f"warning: {module.__file__} is not what it was when the run began", file=sys.stderr)
    SOURCES[term.name] = found
    return term.name


def _term(module: ModuleType, function: str) -> RewardTerm:
    """The term of that name, or of the function of that name, which is registered where it is not yet."""
    theirs = [term for term in (TERMS[name] for name in TERMS) if term.cost.__module__ == module.__name__]
    found = getattr(module, function, None)
    for term in theirs:
        if term.cost is found or term.name == function:
            return term
    if not callable(found):
        there = [term.name for term in theirs]
        there += [name for name, value in vars(module).items() if inspect.isfunction(value)
                  and value.__module__ == module.__name__ and name not in there and not name.startswith("_")]
        raise UsageError(f"{module.__name__} ({module.__file__}) has no function {function!r}; it has "
                         f"{', '.join(there) or 'none'}")
    try:
        inspect.signature(found).bind(None, None)
    except TypeError as error:
        raise UsageError(f"{module.__name__}:{function} cannot be called as {function}(image, transition): {error}; "
                         f"see docs/tutorials/own_reward.md") from error
    if function in TERMS:
        other = SOURCES[function].source if function in SOURCES else "a term of rlenhance's own"
        raise UsageError(f"{module.__name__}:{function}: the name {function} is taken ({other}); rename the function, "
                         f"or register it with @state_term(\"another_name\")")
    state_term(function, default=1.0)(found)
    return TERMS[function]


def _source_of(source: str, module: ModuleType) -> TermSource:
    file, digest = digest_of(module)
    if not file:
        return TermSource(source, "", "", "")
    above = module.__name__.count(".") + (Path(file).name == "__init__.py")
    return TermSource(source, str(Path(file).parents[above]), file, digest)


def _test_images(size: int) -> Tensor:
    """Smooth images with some grain, from dark to bright, the same at every call: (6, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    shades = torch.tensor(_SHADES)[:, None, None, None]
    soft = resize(torch.rand(len(_SHADES), 3, 8, 8, generator=generator), size)
    grain = torch.rand(len(_SHADES), 3, size, size, generator=generator)
    return (shades + 0.5 * (soft - 0.5) + 0.1 * (grain - 0.5)).clamp(0, 1)


def _transition(image: Tensor) -> Transition:
    """A step that ends in `image`; the initial image and the reference are other images."""
    count = image.shape[0]
    preferences = {"exposure_level": image.new_full((count, 1, 1, 1), 0.5)}
    initial, target = image.detach().flip(0, 3), image.detach().flip(2)
    return Transition(initial, image.detach(), initial, image.new_zeros(count, 1, 4, 4), preferences, target)


def _cost(term: RewardTerm, value: Tensor, previous: Tensor) -> Tensor:
    """Cost of images (N, 3, H, W), or of magnitudes (N, 1, h, w) after the previous ones."""
    second = _transition(value) if term.kind == "state" else previous
    return check_cost(term, term.cost(value, second), value)


def validate_term(term: RewardTerm, size: int = 64) -> None:
    """Refuse a term that fails, or whose cost is not a finite map per image, region or pixel.

    Args:
        term: the term.
        size: side of the test images in pixels.

    Raises:
        UsageError: names the term, what it gave, and the shapes that are allowed.
    """
    image = _test_images(size)
    value = image if term.kind == "state" else image[:, :1] - 0.5
    try:
        cost = _cost(term, value, -value)
    except UsageError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(f"the reward term {term.name} fails on pictures {tuple(image.shape)}: "
                         f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})") from error
    if not torch.isfinite(cost).all():
        raise UsageError(f"the reward term {term.name} gives {cost[~torch.isfinite(cost)][0].item()} on a picture with "
                         f"values in [0, 1]; a cost must be finite: add a small number where it divides or takes a "
                         f"logarithm")


def nondifferentiable(names: Iterable[str], kinds: Collection[str], size: int = 64) -> list[str]:
    """Names of the terms that depend on the image (the magnitudes) without a gradient.

    These are terms that leave torch (NumPy, Pillow, OpenCV), round or compare.

    Args:
        names: names of registered terms.
        kinds: kinds of terms to test: "state", "action".
        size: side of the test images in pixels.
    """
    chosen = [TERMS[name] for name in names if TERMS[name].kind in kinds]
    return [term.name for term in chosen if not (term.differentiable and _differentiable(term, size))]


def _differentiable(term: RewardTerm, size: int) -> bool:
    image = _test_images(size)
    brighter = image + image * (1 - image)  # the strongest step of a curve
    both = torch.cat([image, brighter])
    value = (both if term.kind == "state" else both[:, :1] - 0.5).requires_grad_()
    with torch.enable_grad():
        try:
            cost = _cost(term, value, -value.detach())
        except RuntimeError:  # "can't call numpy() on a tensor that requires grad"
            return False
        if not cost.requires_grad:
            return False
        (slope,) = torch.autograd.grad(cost.sum(), value, allow_unused=True)
    if slope is not None and bool((slope != 0).any()):
        return True
    before, after = cost.detach().chunk(2)
    return torch.equal(before, after)  # flat for both: no difference can be measured
