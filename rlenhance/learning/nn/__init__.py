"""Parts of networks: backbones, latent codes, distributions, preferences."""
