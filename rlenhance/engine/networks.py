"""Networks by their names in config.json, on exported graphs: NumPy arrays in, NumPy arrays out.

What is around a graph (pixels as channels and back, padding, enlargement) is done here, equally for every backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, enlarge_planes, pad_planes, pixel_shuffle, pixel_unshuffle
from rlenhance.core.registry import Registry
from rlenhance.engine.array_network import ArrayNetwork
from rlenhance.engine.graph import Graph
from rlenhance.engine.onnx_file import StaleExport
from rlenhance.ops.noise_estimation import LARGEST_NOISE
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, picture_statistics

#: Networks by the name of their model.
NETWORKS: Registry[type[Network]] = Registry("exported network")
#: Names of models whose networks other modules of the engine register -> the module, imported when it is needed.
_ELSEWHERE = {"filter_policy": "filters", "kernel_denoiser": "pixel_kernels", "pixel_policy": "latent",
              "small_tools": "small_tools"}
#: Files of a checkpoint: its graphs by part, of which most networks have one.
EXPORT = "{part}.onnx"
#: The export where another ONNX file has its name: model.onnx of a folder for model hubs is a graph with its weights.
BESIDE = "{part}.export.onnx"


class Network(ArrayNetwork):
    """Base class of the exported networks.

    Args:
        folder: of the checkpoint.
        config: its config.json.
        weights: see `Graph`.
        backend: see `rlenhance.engine.graph.Graph`.

    Attributes:
        folder: see above.
        purpose, scale, channels, needs_mask, receptive_radius: see `rlenhance.hub.info.ModelInfo`.
        spec: name and arguments of the model.
        graphs: by part.

    Raises:
        UsageError, StaleExport: see `load`.
    """

    parts: tuple[str, ...] = ("model",)

    def __init__(self, folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray],
                 backend: str | None = None):
        self.folder, self.spec = folder, dict(config["model"])
        self.purpose, self.scale, self.channels = config["purpose"], config["scale"], config["channels"]
        self.needs_mask, self.receptive_radius = config["needs_mask"], config.get("receptive_radius")
        self.graphs = {part: self._graph(part, weights, backend) for part in self.parts}

    def _graph(self, part: str, weights: Mapping[str, np.ndarray], backend: str | None) -> Graph:
        path = export_path(self.folder, part)
        if not path.is_file():  # of a version that had fewer parts
            raise StaleExport(f"{path}: is missing; write it anew with rlenhance export")
        graph = Graph(path, weights, backend)
        if graph.facts.get("model") != self.spec:
            raise StaleExport(f"{graph.path}: was written for another config (config.json has changed since); write it "
                              f"anew with rlenhance export")
        return graph

    def run(self, **arrays: np.ndarray) -> Any:
        """The outputs of the part "model", see `Graph.run`."""
        return self.graphs["model"].run(**arrays)


def export_path(folder: Path, part: str) -> Path:
    """Where the export of a part lies in a checkpoint, or would lie."""
    beside = folder / BESIDE.format(part=part)
    return beside if beside.is_file() else folder / EXPORT.format(part=part)


def load(folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], backend: str | None = None
         ) -> Network | None:
    """The exported network of a checkpoint; None where it was not exported, or has a name that is not in `NETWORKS`.

    Args:
        folder: of the checkpoint.
        config: its config.json.
        weights: its arrays by name, float32.
        backend: see `Network`.

    Raises:
        UsageError: the export is damaged.
        StaleExport: it was written for another config, for weights of other shapes, or by another version.
    """
    if not export_path(folder, "model").is_file():
        return None
    network = network_class(config["model"]["name"])
    return None if network is None else network(folder, config, weights, backend)


def network_class(name: str) -> type[Network] | None:
    """The class of a network on an exported graph, by the name of its model; None for another name."""
    if name in _ELSEWHERE:
        import_module(f"rlenhance.engine.{_ELSEWHERE[name]}")
    if name not in NETWORKS:
        return None
    return NETWORKS[name]


class NoiseConditioned(Network):
    """Base class of the denoisers that take a noise map.

    Attributes:
        noise_channels, noise_floor, size_multiple, receptive_radius: see
            `rlenhance.learning.models.denoiser.NoiseConditionedModel`.
    """

    takes_noise_map = True
    noise_channels = 1
    size_multiple: int

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.noise_floor = float(self.spec.get("noise_floor", 0.0))

    def cleaned(self, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The result: (N, channels, H, W), (N, 1, H, W), sides multiples of `size_multiple` -> (N, channels, H, W)."""
        raise TypeError("a denoiser defines cleaned")

    def denoise(self, image: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
        """Whole pictures at once.

        Args:
            image: (N, channels, H, W) float32 of any size; noise may leave [0, 1].
            noise: standard deviation, a number or an array (N or 1, 1, H or 1, W or 1), in [0, `LARGEST_NOISE`].

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            UsageError: other channels; a map of another shape; noise outside the range.
        """
        if image.ndim != 4 or image.shape[1] != self.channels or 0 in image.shape:
            raise UsageError(f"this denoiser takes (N, {self.channels}, H, W) float; got {image.shape} {image.dtype}: "
                             f"there is one for colour (3 channels) and one for grey (1)")
        given = np.asarray(noise, np.float32)
        count, _, height, width = image.shape
        try:
            spread = np.broadcast_to(given, (count, 1, height, width))
        except ValueError as error:
            raise UsageError(f"noise is a number or a map (N, 1, H, W) of the picture's size {image.shape}; got "
                             f"{given.shape}") from error
        low, high = float(given.min()), float(given.max())
        if not (low >= 0 and high <= LARGEST_NOISE * (1 + 1e-5)):
            raise UsageError(f"noise must lie between 0 and {LARGEST_NOISE:.3f} (75 of 255), a standard deviation on "
                             f"the scale of pictures in [0, 1]; got {low:.4g} to {high:.4g}: reduce the picture first, "
                             f"or clamp the map")
        padded, around = (pad_planes(part, self.size_multiple) for part in (image, spread))
        return self.cleaned(padded, around)[..., :height, :width]


@NETWORKS.register("denoiser")
class DenoisingUNet(NoiseConditioned):
    """`rlenhance.learning.models.DenoisingUNet`."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.size_multiple = 2 ** len(self.spec.get("widths", (32, 64, 64)))

    def cleaned(self, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
        cells = np.concatenate([pixel_unshuffle(part, 2) for part in (image, noise)], axis=1)
        return image - noise * pixel_shuffle(self.run(cells=cells), 2)


class Enlargement(Network):
    """Base class of the networks that enlarge.

    Attributes:
        exposure: whether a tone curve comes first; of exported networks it does not.
    """

    exposure = False

    def restore_unclamped(self, image: np.ndarray) -> np.ndarray:
        """Enlarged, not clipped: (N, 3, H, W) float32 -> (N, 3, scale H, scale W)."""
        raise TypeError("a network that enlarges defines restore_unclamped")

    def __call__(self, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The same, clipped to [0, 1]."""
        if mask is not None:
            raise UsageError(f"a network of scale {self.scale} changes the size, and a mask would not fit the result: "
                             f"leave it out")
        return self.restore_unclamped(image).clip(0, 1)


@NETWORKS.register("restorer")
class Restorer(Network):
    """`rlenhance.learning.models.Restorer` on the compact backbone, with the statistics of the picture."""

    def __call__(self, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The result, (N, 3, H, W) float32 in [0, 1], changed where the mask (N, 1, H, W) is 1; None: everywhere."""
        check_planes(image)
        stride = int(self.spec["backbone"].get("stride", 8))
        context = np.stack([picture_statistics(planes, DEFAULT_EXPOSURE) for planes in image])
        cells = self.run(cells=pixel_unshuffle(pad_planes(image, stride), stride), context=context)
        height, width = image.shape[2:]
        result: np.ndarray = (image + pixel_shuffle(cells, stride)[..., :height, :width]).clip(0, 1)
        return result if mask is None else image + mask * (result - image)


@NETWORKS.register("enlarger")
class Enlarger(Enlargement):
    """`rlenhance.learning.models.Enlarger`."""

    def restore_unclamped(self, image: np.ndarray) -> np.ndarray:
        detail = pixel_shuffle(self.run(image=image), self.scale)
        return detail if self.spec.get("paper_form") else enlarge_planes(image, self.scale) + detail


@NETWORKS.register("combined")
class MRPNetSR(Enlargement):
    """`rlenhance.learning.models.MRPNetSR` without a tone curve: "model" cleans, "generator" enlarges."""

    parts = ("model", "generator")
    size_multiple = 2

    def restore_unclamped(self, image: np.ndarray) -> np.ndarray:
        clean = self.run(image=image, padded=pad_planes(image, self.size_multiple))
        detail = pixel_shuffle(self.graphs["generator"].run(image=clean), self.scale)
        return detail if self.spec.get("paper_form") else enlarge_planes(clean, self.scale) + detail
