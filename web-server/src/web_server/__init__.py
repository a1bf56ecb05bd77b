"""The web app: accounts, tokens and the gateway to the tasks service."""
