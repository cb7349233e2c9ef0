"""Adapters: pure conversion between one clean dialect and each provider's own. No I/O."""
