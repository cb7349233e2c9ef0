"""An organisation's single endpoint for open models at many inference providers."""

__version__ = "0.1.0"
