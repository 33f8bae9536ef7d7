"""Codes of patches: an equivariant autoencoder, and a codebook of clean codes."""

from rlenhance.learning.nn.latent.codebook import Codebook
from rlenhance.learning.nn.latent.d4 import permute_code
from rlenhance.learning.nn.latent.patch_autoencoder import AT_ONCE, PatchAutoencoder, Patches, measured_noise

__all__ = ["AT_ONCE", "Codebook", "PatchAutoencoder", "Patches", "measured_noise", "permute_code"]
