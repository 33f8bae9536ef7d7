"""Laws of the library: rlenhance, envs, agents."""
