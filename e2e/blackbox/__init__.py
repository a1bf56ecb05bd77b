"""Helpers of the black-box tests: HTTP client, contract, server of sources, clip checks."""
