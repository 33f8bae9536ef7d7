"""The numbers of filters that are predicted per pixel, as torch and the engine lay them out."""

from __future__ import annotations

#: RGB -> Y, Cb, Cr around 0, and back (BT.601, full range).
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
#: What the picture and its noise map are multiplied by before the network, so that both are about 1.
PICTURE_SCALE, NOISE_SCALE = 4.0, 8.0
#: Numbers of a pixel that blend the next coarser level in: for luma, and for chroma.
ALPHAS = 2


def outputs_of(level: int, levels: int, side: int) -> int:
    """Numbers of a pixel at a level: the logits of its filter for luma, of that for chroma, and those of the blend,
    which the last level does not have."""
    return 2 * side**2 + (ALPHAS if level < levels - 1 else 0)
