"""The HTTP API of the tasks service: routes, documents, use cases, queries."""
