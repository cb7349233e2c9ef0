"""Simulated providers that speak each one's own wire format, with its strictness."""
