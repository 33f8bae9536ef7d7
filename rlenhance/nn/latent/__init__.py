"""Codes of patches: an equivariant autoencoder, and what is known of the codes of clean pictures."""

from rlenhance.nn.latent.codebook import CodeBank
from rlenhance.nn.latent.d4 import permuted
from rlenhance.nn.latent.patch_autoencoder import AT_ONCE, PatchAutoencoder, Patches, told_noise

__all__ = ["AT_ONCE", "CodeBank", "PatchAutoencoder", "Patches", "permuted", "told_noise"]
