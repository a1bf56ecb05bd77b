"""What the black-box tests are made of: a client, the contract, a server of sources, a look into clips."""
