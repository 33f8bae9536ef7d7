"""Codes of patches: an equivariant autoencoder, and what is known of the codes of clean pictures."""

from rlenhance.latent.autoencoder import AT_ONCE, PatchAutoencoder, Patches, told_noise
from rlenhance.latent.bank import CodeBank
from rlenhance.latent.orbit import permuted

__all__ = ["AT_ONCE", "CodeBank", "PatchAutoencoder", "Patches", "permuted", "told_noise"]
