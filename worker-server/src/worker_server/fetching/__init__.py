"""Getting a stranger's file safely: which addresses, which limits, how to resume."""
