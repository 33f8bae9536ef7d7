"""Self-enhancement in latent codes (RSE-RL)."""
