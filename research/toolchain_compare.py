"""Compare policies over tools with chains, regression, cloning and oracles on the same damaged patches.

    python -m research.toolchain_compare --data DIR --models vine=RUN
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Annotated, Any, cast

from safetensors.torch import load, save
from torch import Tensor

from research.toolchain_controls import (
    DamageTable,
    States,
    chain_states,
    cloning,
    fit_planner,
    fit_table,
    gain_states,
    oracle_states,
    plan_chain,
    regression,
)
from research.toolchain_search import Chain, best_fixed_chains, best_own_chains, run_chain
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import CompareConfig, TaskComparison, compare_command
from rlenhance.experiments.core.config import one_of
from rlenhance.experiments.core.scores import Baseline, Candidate, Column, Comparison, Row
from rlenhance.experiments.tasks.clean_pictures import CleanPictures, load_clean
from rlenhance.experiments.tasks.small_tools import SMALL_TOOLS
from rlenhance.experiments.tasks.toolchain_data import Patches, draw_patches
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Batch
from rlenhance.learning.data.mixed_damage import LEVELS
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.models import ToolchainPolicy, ToolPlanner
from rlenhance.tools import TOOLKITS, Tool, toolkit

#: Names of the rows that are trained here.
GREEDY, OWN_CHAINS, CLONED = "regression of gains, greedy", "regression on its own chains", "oracle cloned"
_ORACLE = "oracle"  # rows that see the reference
_SEARCHED = 1000  # training patches on which chains are tried, and on whose states one file is kept


@dataclass(frozen=True)
class ToolchainCompareConfig(CompareConfig):
    """Score fixed chains, learned planners and oracles over a kit of tools, on patches with mixed damage.

    Models are policies over the same tools, or networks in one pass.
    """

    out: Path = Path("runs/toolchain_compare")
    """Where the table goes; what was scored there on the same patches is not scored again."""
    baseline: str = GREEDY
    """Name of a row: what the others' scores differ from its, with 95 % bootstrap intervals over pictures."""
    data: tuple[Path, ...] = ()
    """Folders of good pictures, or of pairs, whose references are taken; each counts alike (default: the bundled
    photographs)."""
    tools: Annotated[str, one_of(TOOLKITS)] = "own"
    """The kit of tools."""
    weights: Path | None = None
    """Folder of the kit's weights, where they are not shipped."""
    steps: int = 2
    """The most tools in a chain."""
    levels: tuple[Annotated[str, one_of(dict.fromkeys(LEVELS))], ...] = ("moderate", "mild", "severe")
    """Levels of damage that are scored; the first is the one that rows learn on."""
    patches: int = 300
    """Test patches of each level."""
    train_patches: tuple[int, ...] = (1000,)
    """Patches that regression and cloning learn on; further numbers give further rows of both, a learning curve. Chains
    are searched on the first 1000 of the first number."""
    rounds: int = 2
    """Times that a regression is trained again, with what its own chains have met; 0: no such row."""
    updates: int = 1500
    """Of each trained planner."""
    seeds: int = 3
    """Of each trained planner; 0: no such rows."""
    hidden: int = 128
    """Units of each hidden layer of the planners that are trained here."""
    dropout: float = 0.0
    """Share of these units that is left out in training."""
    prices: tuple[float, ...] = ()
    """Further rows of greedy regression, with prices in dB for a second of processor time per megapixel."""
    width: int = 12
    """Chains that oracles keep at each length; two steps are exact with as many as there are tools."""


@dataclass(frozen=True)
class Control:
    """A planner that was trained here, and the price of a second per megapixel that it is asked for."""

    planner: ToolPlanner
    price: float = 0.0


class ToolchainComparison(TaskComparison[ToolchainCompareConfig, CleanPictures]):
    """Conditions are levels of damage; the details of a score are the chains."""

    Config = ToolchainCompareConfig

    def check(self) -> None:
        config = self.config
        for name, low in (("steps", 1), ("patches", 1), ("updates", 1), ("width", 1), ("seeds", 0), ("rounds", 0),
                          ("hidden", 1)):
            if getattr(config, name) < low:
                raise UsageError(f"--{name} must be at least {low}; got {getattr(config, name)}")
        counts = config.train_patches
        if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
            raise UsageError(f"--train-patches are different numbers from 1 on; got {' '.join(map(str, counts))}")
        if unknown := set(config.levels) - set(LEVELS):
            raise UsageError(f"--levels are among {', '.join(LEVELS)}; got {', '.join(sorted(unknown))}")
        if not config.seeds and config.baseline in (GREEDY, OWN_CHAINS, CLONED):
            raise UsageError(f"--seeds 0 leaves out the row {config.baseline!r}: name another --baseline")

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The kit."""
        return toolkit(self.config.tools, self.config.weights)

    def dataset(self) -> CleanPictures:
        return load_clean(self.config.data)

    def conditions(self) -> Sequence[str]:
        return self.config.levels

    @cache  # noqa: B019 - one comparison a process
    def patches(self, level: str) -> Patches:
        """The patches of a level that are scored."""
        return draw_patches(self.data, self.split, self.config.patches, level)

    def training_patches(self, first: int, count: int) -> Patches:
        """The patches from number `first` on that rows learn on."""
        return draw_patches(self.data, "train", count, self.config.levels[0], first=first)

    @cached_property
    def searched(self) -> Patches:
        """The training patches on which chains are tried."""
        return self.training_patches(0, min(_SEARCHED, self.config.train_patches[0]))

    def pictures(self, condition: str) -> Sequence[Batch]:
        patches = self.patches(condition)
        self.fixed, self.table  # noqa: B018 - made before times are taken; those of oracles are not shown
        return [Batch(image[None], target[None]) for image, target in zip(patches.image, patches.target, strict=True)]

    def groups(self, count: int) -> list[str]:
        return list(self.patches(self.config.levels[0]).pictures)

    def cache_key(self) -> str:
        config, patches = self.config, self.searched
        kit = [(tool.name, tool.version) for tool in self.tools]
        facts = (kit, config.steps, config.patches, len(patches), config.updates, config.width,
                 config.levels[0], patches.digest, self.data.digest()[self.split])
        return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()

    # rows

    def baselines(self, condition: str) -> Mapping[str, Baseline]:
        steps, image = self.config.steps, lambda batch: batch.image

        def chain_row(length: int) -> Baseline:
            return Baseline(f"best fixed chain, {length}",
                            lambda batch: run_chain(self.tools, batch.image, self.fixed[length]),
                            about=lambda: self.words(self.fixed[length]))

        def table(batch: Batch) -> Tensor:
            return run_chain(self.tools, batch.image, self.table.choose(batch.image))

        def oracle(length: int) -> Baseline:
            return Baseline(f"{_ORACLE}, {length} step{'s' * (length > 1)}",
                            lambda batch: self.oracle(condition, batch)[length][1][None], uses_target=True)

        rows = [Baseline("input", image), Baseline("random chain", self.random_chain),
                *(chain_row(length) for length in range(1, steps + 1)),
                Baseline("best chain by estimated damage", table,
                         about=lambda: f"{len(set(self.table.chains.values()))} chains"),
                *(oracle(length) for length in range(1, steps + 1))]
        return {row.name: row for row in rows}

    @cached_property
    def folder(self) -> Path:
        """What is found and trained for these rows, for comparisons that go on."""
        return self.config.out / "controls" / self.cache_key()

    @cached_property
    def fixed(self) -> Sequence[Chain]:
        """The best fixed chains by their length, found on the training patches."""
        def search() -> Any:
            patches = self.searched
            return best_fixed_chains(self.tools, patches.image, patches.target, self.config.steps).chains

        return [tuple(chain) for chain in self._stored("fixed.json", search)]

    @cached_property
    def table(self) -> DamageTable:
        """The chains by estimated damage."""
        made: list[DamageTable] = []

        def search() -> Any:
            made.append(fit_table(self.tools, self.searched, self.fixed[-1], self.config.steps,
                                  updates=self.config.updates, width=3))
            save_checkpoint(self.folder / "estimator", made[0].estimator)
            return made[0].chains

        chains = {int(number): tuple(chain) for number, chain in self._stored("table.json", search).items()}
        if made:
            return made[0]
        estimator = cast(ToolchainPolicy, load_network(self.folder / "estimator").eval())
        return DamageTable(estimator, self.fixed[-1], chains)

    def _stored(self, name: str, search: Callable[[], Any]) -> Any:
        """What a search has found, from the folder if it is there."""
        path = self.folder / name
        if not path.is_file():
            found = search()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(found).encode())
        return json.loads(path.read_bytes())

    def random_chain(self, batch: Batch) -> Tensor:
        """A random number of random tools, the same for the same patch."""
        rng = random.Random(batch.image.numpy().tobytes())
        chain = tuple(rng.randrange(len(self.tools)) for _ in range(rng.randint(0, self.config.steps)))
        return run_chain(self.tools, batch.image, chain)

    def oracle(self, level: str, batch: Batch) -> list[tuple[Chain, Tensor]]:
        """The best chains of a test patch by their length; all patches of a level are searched at once."""
        return self._oracles(level)[_mark(batch.image)]

    @cache  # noqa: B019 - one comparison a process
    def _oracles(self, level: str) -> dict[bytes, list[tuple[Chain, Tensor]]]:
        patches = self.patches(level)
        found = best_own_chains(self.tools, patches.image, patches.target, self.config.steps, self.config.width)
        return {_mark(image[None]): own for image, own in zip(patches.image, found, strict=True)}

    def trained(self) -> list[Candidate]:
        counts = self.config.train_patches
        rows = [(name if count == counts[0] else f"{name}, {count} patches", partial(learn, count))
                for name, learn in ((GREEDY, self._regressed), (CLONED, self._cloned)) for count in counts]
        if self.config.rounds:
            rows.insert(len(counts), (OWN_CHAINS, partial(self._own_chains, counts[0])))
        return [candidate for name, learn in rows for candidate in self._kept(name, learn)]

    def _kept(self, name: str, learn: Callable[[], Callable[[int], ToolchainPolicy]]) -> Iterator[Candidate]:
        """The planners of a row, one per seed, kept in the folder of the comparison."""
        if not self.config.seeds:
            return
        fit, models, marks = None, [], []
        config = self.config
        for seed in range(config.seeds):
            mark = f"{name}, {config.train_patches[0]} patches" if "patches" not in name else name
            mark += f", {config.rounds} rounds" * (name == OWN_CHAINS) + f"{self._network_mark}, seed {seed}"
            place = self.folder / mark.replace(", ", "-").replace(" ", "-")
            if not place.is_dir():
                fit = fit or learn()
                save_checkpoint(place, fit(seed), {"seed": seed})
            models.append(Control(cast(ToolPlanner, load_network(place).eval())))
            marks.append(mark)
        yield Candidate(name, models, marks, self.folder)
        if name == GREEDY:
            for price in config.prices:
                yield Candidate(f"{name}, price {price:g}", [replace(model, price=price) for model in models],
                                [f"{mark} {price}" for mark in marks], self.folder)

    def _states(self, kind: str, count: int, collect: Callable[[Patches], States]) -> States:
        """What is learned from the first training patches, kept in parts."""
        parts = []
        for first in range(0, count, _SEARCHED):
            size = min(_SEARCHED, count - first)
            path = self.folder / f"{kind}-{first}-{size}.safetensors"
            if not path.is_file():
                found = collect(self.training_patches(first, size))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, save({"spectrum": found.spectrum, "label": found.label}))
            parts.append(States(**load(path.read_bytes())))
        return States.join(parts)

    def _fit(self, states: States, loss: Callable[[Tensor, Tensor], Tensor], seed: int) -> ToolchainPolicy:
        config = self.config
        return fit_planner(self.names, states, loss, updates=config.updates, seed=seed, hidden=config.hidden,
                           dropout=config.dropout)

    @property
    def _network_mark(self) -> str:
        """Of planners of another network than the default one."""
        hidden, dropout = self.config.hidden, self.config.dropout
        return "" if (hidden, dropout) == (128, 0) else f", {hidden} units, dropout {dropout:g}"

    def _gains(self, count: int) -> States:
        return self._states("gains", count, lambda patches: gain_states(self.tools, patches, self.config.steps))

    def _regressed(self, count: int) -> Callable[[int], ToolchainPolicy]:
        states = self._gains(count)
        return lambda seed: self._fit(states, regression, seed)

    def _own_chains(self, count: int) -> Callable[[int], ToolchainPolicy]:
        def fit(seed: int) -> ToolchainPolicy:
            states = self._gains(count)
            planner = self._fit(states, regression, seed)
            for number in range(self.config.rounds):
                met = self._states(f"met{self._network_mark.replace(', ', '-')}-{seed}-{number}", count, partial(
                    chain_states, self.tools, steps=self.config.steps, planner=planner))
                states = States.join([states, met])
                planner = self._fit(states, regression, seed)
            return planner

        return fit

    def _cloned(self, count: int) -> Callable[[int], ToolchainPolicy]:
        states = self._states("oracle", count, lambda patches: oracle_states(
            self.tools, patches, self.config.steps, 3))
        return lambda seed: self._fit(states, cloning, seed)

    @property
    def names(self) -> list[str]:
        """Of the tools."""
        return [tool.name for tool in self.tools]

    def check_model(self, model: Any, place: Path) -> None:
        if model.purpose == "restore" and tuple(model.tools) != tuple(self.names):
            raise UsageError(f"{place}: chooses among {', '.join(model.tools)}, and the kit has "
                             f"{', '.join(self.names)}: name its kit with --tools")

    def apply(self, model: Any, batch: Batch, condition: str) -> tuple[Tensor, Any]:
        if isinstance(model, Control):
            chain = plan_chain(model.planner, self.tools, batch.image, self.config.steps, model.price)
        elif model.purpose == "restore":
            chain = model.plan(batch.image, self.tools, steps=self.config.steps)
        else:
            return model(batch.image), None
        return (chain[-1][1] if chain else batch.image), [name for name, _ in chain]

    def summarize(self, details: list[Any]) -> Any:
        """Mean length of the chains, their mean price in seconds per megapixel, and the commonest."""
        costs = {tool.name: tool.cost for tool in self.tools}
        chains = [tuple(chain) for chain in details]
        common = max(set(chains), key=chains.count)
        return {"tools": statistics.fmean(map(len, chains)),
                "cost": statistics.fmean(sum(costs[name] for name in chain) for chain in chains),
                "different": len(set(chains)), "commonest": [*common], "share": chains.count(common) / len(chains)}

    # the table

    def columns(self) -> Sequence[Column]:
        return (Column("psnr", "PSNR", 2, difference="dB"), Column("ssim", "SSIM", 3),
                Column("cpu_s_per_megapixel", "CPU s / MP", 2))

    def cell(self, row: Row, condition: str, column: Column) -> str:
        if row.name.startswith(_ORACLE) and column.key.startswith("cpu_s") and row.name != CLONED:
            return ""  # a search with the reference
        return super().cell(row, condition, column)

    def facts(self, row: Row) -> dict[str, str]:
        entries = next(iter(row.entries.values()), [])
        details = [entry.details for entry in entries if entry.details]
        chains = f"{statistics.fmean(each['tools'] for each in details):.1f}" if details else ""
        return {"tools": chains, "seeds": str(len(entries)) if len(entries) > 1 else ""}

    def gap(self, comparison: Comparison, level: str) -> Iterator[str]:
        """A line for each learned row: its share of the way from the best fixed chain to the oracle."""
        steps = self.config.steps
        low, high = (comparison.rows[name].mean(level, "psnr") for name in (
            f"best fixed chain, {steps}", f"{_ORACLE}, {steps} step{'s' * (steps > 1)}"))
        for row in comparison.rows.values():
            if row.models.get(level) and high > low:
                share = (row.mean(level, "psnr") - low) / (high - low)
                yield f"- {level}, {row.name}: {share:.0%} of {high - low:.2f} dB"

    def about(self, comparison: Comparison) -> list[str]:
        config = self.config
        return [*super().about(comparison)[:1],
                f"{config.patches} {self.split} patches of each level, of {len(set(comparison.groups))} pictures; rows "
                f"learned on {config.train_patches[0]} patches, {config.levels[0]}. Kit {config.tools}: "
                f"{len(self.tools)} tools, chains of at most {config.steps}.",
                "", "Share of the way from the best fixed chain to the oracle:", "",
                *(line for level in config.levels for line in self.gap(comparison, level)), ""]

    def words(self, chain: Chain) -> str:
        """A chain as text."""
        return " > ".join(self.tools[place].name for place in chain) or "nothing"


def _mark(image: Tensor) -> bytes:
    """Identifies a patch."""
    return hashlib.blake2b(cast(Any, image.numpy()).tobytes(), digest_size=16).digest()


TOOLCHAIN_COMPARISON = ToolchainComparison(SMALL_TOOLS)


if __name__ == "__main__":
    raise SystemExit(compare_command(TOOLCHAIN_COMPARISON))
