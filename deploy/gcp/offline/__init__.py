"""A stand-in for Terraform's google provider where the real one cannot be had: it knows its schema, and no cloud."""
