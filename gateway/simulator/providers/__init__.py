"""One file per simulated provider."""
