"""Helpers of the black-box tests: an HTTP client, the contract, a server of sources, checks of clips."""
