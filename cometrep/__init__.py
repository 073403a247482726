"""Make pictures through CometAPI's Replicate-format endpoints."""

__version__ = "0.1.0"
