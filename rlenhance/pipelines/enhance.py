"""Photographs in, better photographs out."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlenhance.actions import Action
from rlenhance.core.devices import AUTO, check_half, find_device
from rlenhance.core.errors import UsageError, check_unit_interval
from rlenhance.core.image import check_image, reduced_tensor, to_array, to_tensor
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import find_checkpoint, load_model
from rlenhance.io import Outcome, OutputNaming, Photo, make_plan, read, run_batch
from rlenhance.io.array_types import apply_to
from rlenhance.models import Completing, GreedyEpisode
from rlenhance.nn.preferences import Preferences
from rlenhance.ops.image_statistics import exposure_of
from rlenhance.ops.region import blend_region, check_region, region_weights
from rlenhance.pipelines.denoise import NoiseRemover
from rlenhance.pipelines.options import check_taken
from rlenhance.pipelines.video import enhance_clip


class Enhancer:
    """A trained model for photographs.

    Args:
        model: name of a shipped model, a run folder, or a checkpoint in it; None: the shipped default.
        steps: stop a policy after this many of its steps; None plays all.
        device: where it computes: "cpu", "cuda", "cuda:1", "mps", or "auto", the best of them that is there; one that
            fails then (no memory, an operation that it does not have) gives way to the CPU, with a warning.
        preference: what the user chooses, by name ("exposure_level"); the rest keeps its default.
        strength: how much of the change is made, in [0, 1]: picture + strength (result - picture), before rounding.
            At 0 the model is not asked, and without `denoise` the pixels stay as they are, bit for bit.
        denoise: how much of the noise that the change shows is taken out afterwards, in [0, 1]; at 0 nothing is.
        region: (H, W), where the picture may change, see `rlenhance.ops.region.region_weights`; pictures have its size.
        half: the network computes in 16-bit floats (CUDA only).

    One Enhancer may serve several threads, as long as none of them calls `choose` meanwhile.

    Raises:
        UsageError: no usable checkpoint, or a damaged one; a preference that the model does not take, or outside its
            range; a strength or denoise outside [0, 1]; a device that is not there.

    Example:
        >>> Enhancer("runs/lol/demo/best")(pixels)  # doctest: +SKIP
    """

    def __init__(self, model: Path | str | None = None, *, steps: int | None = None, device: torch.device | str = "cpu",
                 preference: Mapping[str, float | None] | None = None, strength: float = 1.0,
                 denoise: float = 0.0, region: np.ndarray | None = None, half: bool = False):
        self.strength, self.denoise = check_unit_interval("strength", strength), check_unit_interval("denoise", denoise)
        self.device, self._may_move = find_device(device), str(device) == AUTO
        #: What takes the noise out, where `denoise` is not 0; it loads its networks when they are needed.
        self.remover = NoiseRemover(strength=self.denoise, device=self.device)
        self.half = check_half(half, self.device)
        self.region = None if region is None else region_weights(region)
        model = weights.default_model() if model is None else model
        if model is None:
            raise UsageError("no model is shipped with this version: name a run, as in Enhancer('runs/lol/first/best')")
        #: The checkpoint in use.
        self.folder = find_checkpoint(weights.locate(model))
        self.model: Any = load_model(self.folder, self.device, steps=steps)
        if isinstance(getattr(self.model, "policy", self.model), Completing):
            raise UsageError(f"{model}: fills holes; use rlenhance complete, or leave out --model")
        if getattr(self.model, "scale", 1) != 1:
            raise UsageError(f"{model}: enlarges; use rlenhance upscale, or leave out --model")
        self.choose(preference or {})

    @property
    def ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """What the user may choose: name -> (lowest, default, highest); empty for a network that acts in one pass."""
        return self._preferences.ranges

    @property
    def auto(self) -> Sequence[str]:
        """Those of them that the model chooses itself where no number is given."""
        return self._preferences.auto

    @property
    def _preferences(self) -> Preferences:
        return getattr(getattr(self.model, "policy", None), "preferences", None) or Preferences()

    def choose(self, preference: Mapping[str, float | None]) -> None:
        """Take other choices from now on; what is not named keeps the model's default.

        Args:
            preference: values by name; None leaves the value to a model that can choose it ("auto").

        Raises:
            UsageError: a preference that the model does not take, or outside its range.
        """
        chosen: dict[str, Any] = dict(preference)
        if chosen and not isinstance(self.model, GreedyEpisode):
            raise UsageError(f"{self.folder}: a network that acts in one pass takes no preferences; "
                             f"got {', '.join(chosen)}: use a policy")
        check_taken(chosen, self.ranges, self.auto)
        self._preferences.encode(chosen, 1)  # refuses now, not at the first photograph
        self.preference = chosen

    def __call__(self, picture: Any, actions: Sequence[Action] | None = None) -> Any:
        """Enhance one picture of any size.

        Args:
            picture: an array (H, W, 3), uint8, uint16 or float in [0, 1], RGB; a PIL image (RGB, RGBA, L, LA, I;16); or
                a tensor (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1]. See
                `rlenhance.io.array_types.apply_to`.
            actions: what `decide` gave for another picture, to be done here as well.

        Returns:
            The same kind, shape and dtype; the picture that was given stays as it was.

        Raises:
            UsageError: another kind, shape or kind of number; a region of another size; actions for a model that
                cannot share them.
        """
        if actions is not None:
            self.check_shares()
        return apply_to(picture, lambda pixels: self._enhanced(pixels, actions))

    def stream(self, pictures: Iterable[Any], ahead: int = 2) -> Iterator[Any]:
        """Enhance pictures one after the other, while the next ones are fetched.

        Args:
            pictures: of the kinds that a call takes; they are asked for as results are taken,
                `ahead` of them beyond the one that is awaited.
            ahead: pictures that are worked on at once.

        Yields:
            The results, in the order of the pictures.

        Raises:
            UsageError: at the place of a picture that cannot be enhanced; or nothing is looked ahead.
        """
        if ahead < 1:
            raise UsageError(f"at least one picture must be worked on; got ahead={ahead}")
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(ahead) as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(self, picture))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _enhanced(self, picture: np.ndarray, actions: Sequence[Action] | None) -> np.ndarray:
        """One picture (H, W, 3): the one path that every result has come."""
        if self.region is not None and isinstance(picture, np.ndarray):
            check_region(self.region, picture)
        if self.strength == 0:
            check_image(to_tensor(picture, self.device))
            if not self.denoise:
                return picture.copy()
        result = self._safely(lambda: (self._cleaned if self.denoise else self._result)(picture, actions))
        return result if self.region is None else blend_region(picture, result, self.region)

    def _cleaned(self, picture: np.ndarray, actions: Sequence[Action] | None) -> np.ndarray:
        """What the model makes of it, without the noise that it has shown."""
        if self.strength == 0:
            return self.remover(picture)
        with torch.inference_mode():
            if actions is None and isinstance(self.model, GreedyEpisode) and self.model.policy.state_size:
                actions = self._decided(picture)
        curve = None if actions is None else partial(self._result, actions=actions)
        return self.remover.after(picture, self._result(picture, actions), curve)

    def _result(self, picture: np.ndarray, actions: Sequence[Action] | None) -> np.ndarray:
        """What the model makes of it, everywhere."""
        with torch.inference_mode():
            if actions is None and isinstance(self.model, GreedyEpisode) and self.model.policy.state_size:
                actions = self._decided(picture)
            if actions is not None:
                return self.model.render_pixels(picture, actions, self.strength)
            image = to_tensor(picture, self.device)
            with self._precision():
                result = self.model(image, preference=self.preference or None).float()
            if self.strength < 1:
                result = image + self.strength * (result - image)
            return to_array(result, picture.dtype.type)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.float16) if self.half else nullcontext()

    def _safely(self, work: Callable[[], Any]) -> Any:
        """Do it; an automatic device that fails gives way to the CPU, once and for all."""
        if not self._may_move or self.device.type == "cpu":
            return work()
        try:
            return work()
        except UsageError:
            raise
        except (RuntimeError, NotImplementedError) as error:  # no memory, or an operation that it does not have
            warnings.warn(f"{self.device} failed ({str(error).splitlines()[0]}); going on on the CPU", stacklevel=4)
            self.device, self.half, self.model = torch.device("cpu"), False, self.model.cpu()
            self.remover = NoiseRemover(strength=self.denoise)
            return work()

    def check_shares(self) -> None:
        """Refuse a model whose decision for one picture means nothing for another.

        Raises:
            UsageError: it acts in one pass, or pixel by pixel.
        """
        if not isinstance(self.model, GreedyEpisode):
            raise UsageError(f"{self.folder}: a network that acts in one pass has no decision to share; leave out "
                             f"--together, or use a policy")
        if not self.model.policy.state_size:
            raise UsageError(f"{self.folder}: a policy that decides pixel by pixel has no decision to share; leave out "
                             f"--together, or use one with a state size")

    def decide(self, picture: np.ndarray) -> list[Action]:
        """What the policy would do to a picture, for others that belong to it.

        Raises:
            UsageError: no picture, or a model that cannot share its decision.
        """
        self.check_shares()
        return self._safely(lambda: self._decided(picture))

    def _decided(self, picture: np.ndarray) -> list[Action]:
        with torch.inference_mode(), self._precision():
            small = reduced_tensor(picture, self.model.policy.state_size, self.device)
            return self.model.decide(small, preference=self.preference or None)

    def decide_together(self, sources: Iterable[Path]) -> tuple[Path, list[Action]]:
        """One decision for a burst or a time-lapse: the one for the picture whose exposure is their median.

        A real picture decides, not the mean of all: averaging narrows the histogram to what no picture shows. The
        median is not moved by a flash or a passing lamp; of an even number the darker of the two decides.

        Args:
            sources: photographs; those that cannot be read are passed over.

        Returns:
            The picture that decided, and the actions.

        Raises:
            UsageError: none can be read; or a model that cannot share its decision.
        """
        self.check_shares()
        exposures: list[tuple[float, int, Path]] = []
        failures = []
        for number, source in enumerate(sources):
            try:
                small = reduced_tensor(read(source).visible_pixels, self.model.policy.state_size)
            except UsageError as error:
                failures.append(str(error))
                continue
            exposures.append((exposure_of(small).item(), number, source))
        if not exposures:
            raise UsageError(f"no photograph to decide on: {failures[0] if failures else 'none is named'}")
        median = sorted(exposures)[(len(exposures) - 1) // 2][-1]
        return median, self.decide(read(median).visible_pixels)

    def enhance_photo(self, photo: Photo, actions: Sequence[Action] | None = None) -> Photo:
        """The same for a decoded file: transparency and metadata stay, grey stays grey, hidden colours hidden.

        At strength 0 and without `denoise` it is the same object, so that its file can be copied.
        """
        if self.strength == 0 and not self.denoise:
            return photo
        return photo.map_pixels(lambda pixels: self(pixels, actions))

    def enhance_files(self, sources: Iterable[Path], out: Path | None = None, *, extension: str | None = None,
                      overwrite: bool = False, actions: Sequence[Action] | None = None,
                      tell: Callable[[Outcome], None] | None = None) -> list[Outcome]:
        """Enhance photographs, clips and folders; a file that fails is named and the rest goes on.

        Args:
            sources: photographs, and folders of them.
            out: a file (for one photograph), or a folder; None writes beside the source.
            extension: another kind of file (".png").
            overwrite: replace results that exist; the source itself never.
            actions: done to all photographs, as `decide_together` gave them; None: each is decided on by itself.
            tell: called after each file.

        Raises:
            UsageError: before any work: a source that does not exist, results that exist or would share a name,
                actions for a model that cannot share them.
        """
        if actions is not None:
            self.check_shares()
        plan = make_plan(sources, out, naming=OutputNaming(extension=extension), overwrite=overwrite, clips=True)
        outcomes = []
        for outcome in run_batch(plan, lambda photo: (self.enhance_photo(photo, actions), {}), copy=True,
                                 film=lambda source, target: enhance_clip(self, source, target).told()):
            outcomes.append(outcome)
            if tell:
                tell(outcome)
        return outcomes
