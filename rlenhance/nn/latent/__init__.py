"""Codes of patches: an equivariant autoencoder, and a codebook of clean codes."""

from rlenhance.nn.latent.codebook import Codebook
from rlenhance.nn.latent.d4 import permute_code
from rlenhance.nn.latent.patch_autoencoder import AT_ONCE, PatchAutoencoder, Patches, measured_noise

__all__ = ["AT_ONCE", "Codebook", "PatchAutoencoder", "Patches", "measured_noise", "permute_code"]
