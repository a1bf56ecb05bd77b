"""What the test suites share; no app imports this package."""
