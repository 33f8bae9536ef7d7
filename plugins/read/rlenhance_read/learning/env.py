"""Reading: prepare a photograph of text so that a machine can read it, look at what was read, and stop in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlenhance.envs.image_env import single_image
from rlenhance.envs.toolchain import ToolchainEnv
from rlenhance.envs.torch_to_numpy import vector_entry_point
from rlenhance.learning.models.policy import Observation
from rlenhance.tools import Tool
from rlenhance_read.learning.rendered_text import RenderedText, find_fonts
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.engines import Engine
from rlenhance_read.ocr.filters import CHAINS, ReadChain
from rlenhance_read.ocr.observation import ANSWER_NUMBERS, CHAIN_NUMBERS
from rlenhance_read.ocr.picture_statistics import MOST, PICTURE_STATISTICS
from rlenhance_read.tools import read_chains

#: What a read costs, and each filter before it, in reads.
READ_COST, FILTER_COST = 1.0, 0.05
_POOL = 1024  # scenes that an environment draws from; none is drawn before it is needed


def chain_tools(chains: Sequence[ReadChain]) -> tuple[Tool, ...]:
    """The chains as tools: their names, and what they cost in reads. The pictures that they make are the engine's."""
    return tuple(Tool(str(chain), f"read after {chain}", _unchanged,
                      READ_COST + FILTER_COST * len(chain.filters), None) for chain in chains)


class ReadEnv(ToolchainEnv):
    """Choose how a photograph of text is prepared and read, look at the reading, try again another way, or stop.

    An OCR engine is a black box: the reward is how much of the text it gets right.

    ## Action Space

    `Discrete(C + 1)`: a chain of filters by its place in `chains`, after which the engine reads the picture, from 0 to
    C - 1, or C: stop. A tool that no read follows earns nothing, so both are one action. Chains begin at the
    photograph; a chain that was read is not allowed again (`action_mask`) and is taken as a stop. Who has stopped
    stays so until the episode ends.

    ## Observation Space

    `Dict`, float32: `image=Box(0, 1, (3, H, W))`, the photograph (RGB, sRGB-encoded), reduced to a square;
    `look=Box(-8, 8, (19,))`, its statistics at its full size (`rlenhance_read.ocr.picture_statistics`);
    `readings=Box(-8, 8, (14 C + 4,))`, of each chain that was read the engine's confidence and statistics of the
    text, and of the answer how far the readings agree on it (`rlenhance_read.ocr.observation`); `last_tools`,
    `remaining`, `budget`, `action_mask`, and with `price_range` `preference`, as of `ToolchainEnv` with one region.
    Neither the text nor the accuracy is observed.

    ## Rewards

    The rise of the answer's character accuracy in the step, minus `price` times the cost in reads: 1 for the read, and
    0.05 for each filter. Character accuracy is 1 less the edit distance in lengths of the text, at least 0. The answer
    is the reading that the others support best (`rlenhance_read.ocr.consensus`); before the first read there is none,
    and its accuracy is 0. It telescopes: the return is the accuracy at the end, minus the price of the reads. Stopping
    earns 0. `info` of each step has `cost` (N,), in reads, and `accuracy` (N,), of the answer.

    ## Starting State

    A random rendered scene (`rlenhance_read.learning.rendered_text`): a line, a paragraph, a receipt, a sign or a plate
    in one of the system's fonts, photographed in bad light by one of 60 simulated cameras; the same for the same seed.

    ## Episode End

    Termination after `horizon` steps, always; never truncation.

    ## Arguments

    engine: "tesseract", "rapidocr", an engine (`rlenhance_read.ocr.engines`), or None: Tesseract, or else RapidOCR; it
    is opened at the first read. chains: ways to read (`rlenhance_read.ocr.filters.CHAINS`), or texts that name filters
    and tools (`rlenhance_read.tools.read_chain`): "brighten denoise-measured tophat". horizon: the most reads (6).
    price: of a read, in accuracy (0.01). price_range: None, or (lowest, default, highest): the price is then the
    preference `price`, observed, and asked for at each reset. budget: reads that an episode may cost (None: no limit).
    split: of the scenes: train, val or test. source: draws scenes instead, `ReadScenes`. folder: where readings
    outlive the process. size: side of the small picture in pixels (24). device, render_mode, info_terms: see
    `ToolchainEnv`.

    ## Vectorized environment

    As of `ToolchainEnv`: in NumPy with NEXT_STEP autoreset, or with `output="torch"` in torch with SAME_STEP autoreset;
    each step copies the choices to the host, where the engine reads.

    ## Version History

    v0: the first.

    Source: reinforcement learning of an engine's preprocessing, Symmetry 2020, 12(5):715. We depart in the readings,
    which are observed, in further reads, and in their price.
    """

    def __init__(self, num_envs: int = 1, *, engine: str | Engine | None = None,
                 chains: Sequence[ReadChain | str] = CHAINS, horizon: int = 6, price: float = 0.01,
                 price_range: tuple[float, float, float] | None = None, budget: float | None = None,
                 split: str = "train", source: ReadScenes | None = None, folder: str | Path | None = None,
                 size: int = 24, **arguments: Any):
        self.scenes = source or ReadScenes(RenderedText(split, find_fonts()), _POOL, engine, read_chains(chains),
                                           None if folder is None else Path(folder), size)
        super().__init__(num_envs, tools=chain_tools(self.scenes.chains), horizon=horizon, score=_nothing, price=price,
                         price_range=price_range, budget=budget, size=self.scenes.side, source=self.scenes, **arguments)

    def _extra_spaces(self) -> dict[str, spaces.Space[Any]]:
        readings = len(self.tools) * CHAIN_NUMBERS + ANSWER_NUMBERS
        return super()._extra_spaces() | {
            "look": spaces.Box(-MOST, MOST, (len(PICTURE_STATISTICS),), np.float32),
            "readings": spaces.Box(-MOST, MOST, (readings,), np.float32)}

    def _begin(self) -> None:
        super()._begin()
        count = len(self.episode.batch.image)
        self._rows = self.scenes.rows_of(self._ids) if self._ids else np.zeros(count, int)  # meta tensors have no ids
        self._read = np.zeros((len(self._rows), len(self.tools)), bool)
        self._accuracy = np.zeros(len(self._rows), np.float32)

    def _observe(self) -> Observation:
        observation: Any = super()._observe()
        look, readings = self.scenes.look[self._rows], self.scenes.seen(self._rows, self._read)
        return cast(Observation, {**observation, "look": self._on_device(look), "readings": self._on_device(readings)})

    def action_mask(self) -> Tensor:
        """Which choices are allowed: (N, C + 1, 1, 1) bool."""
        mask = super().action_mask()
        mask[:, :-1] &= ~self._on_device(self._read)[..., None, None]
        return mask

    def _gain(self, choice: Tensor, after: Tensor) -> Tensor:
        """Read what is asked for; what the answer gains."""
        chosen = choice[:, 0, 0, 0].numpy(force=True)
        going = np.flatnonzero(chosen < len(self.tools))
        self.scenes.need(self._rows[going], chosen[going])
        self._read = self._read.copy()
        self._read[going, chosen[going]] = True
        before, self._accuracy = self._accuracy, self.scenes.answer_accuracy(self._rows, self._read)
        return self._on_device(self._accuracy - before)

    def _breakdown(self, earned: Any) -> dict[str, Any]:
        """The reward by term and by place; what is read, and the price, are terms too."""
        gain, fee = self._earned
        info = super()._breakdown(earned)
        info["reward_terms"] |= {"accuracy": {"raw": gain, "weight": 1.0, "weighted": gain},
                                 "price": {"raw": self._cost, "weight": self.price, "weighted": -fee}}
        return info

    def _run(self, index: int, rows: Tensor) -> Tensor:
        """The photographs themselves: what a chain makes of one is for the engine alone."""
        return self._state.image[rows]

    def _extra_info(self, state: Any, reward: Tensor) -> dict[str, Any]:
        return {**super()._extra_info(state, reward), "accuracy": self._on_device(self._accuracy)}

    def _on_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def branch(self, rows: Tensor) -> ReadEnv:
        """See `ToolchainEnv.branch`."""
        made: Any = super().branch(rows)
        places = rows.numpy(force=True)
        made._rows, made._read, made._accuracy = self._rows[places], self._read[places], self._accuracy[places]
        branched: ReadEnv = made
        return branched


def _unchanged(picture: np.ndarray) -> np.ndarray:
    return picture


def _nothing(image: Tensor, target: Tensor | None) -> Tensor:
    """The score of a picture; it is the readings that count."""
    return image.new_zeros(len(image))


ReadImageEnv = single_image(ReadEnv)
make_read = vector_entry_point(ReadEnv)
