"""Codes of patches: an equivariant autoencoder, and what is known of the codes of clean pictures."""

from rlenhance.latent.autoencoder import PatchAutoencoder, Patches, told_noise
from rlenhance.latent.bank import CodeBank
from rlenhance.latent.orbit import permuted

__all__ = ["CodeBank", "PatchAutoencoder", "Patches", "permuted", "told_noise"]
