"""What both apps must agree on: tokens, problems, logging, request ids."""
