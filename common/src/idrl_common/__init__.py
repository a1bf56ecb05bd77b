"""What both apps must agree on: tokens, problems, logging, request ids."""

__version__ = "0.1.0"
