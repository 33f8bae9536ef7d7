"""The torch wing: networks, policies, rewards, metrics and data for training, and torch as a backend of the tool."""
