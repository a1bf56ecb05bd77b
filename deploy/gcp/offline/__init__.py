"""A stand-in for Terraform's google provider: it knows the schema, and no cloud.

For machines where the real provider cannot be downloaded.
"""
