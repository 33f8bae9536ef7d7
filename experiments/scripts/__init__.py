"""Commands beside training: packaging models, importing weights, pictures for the pages."""
