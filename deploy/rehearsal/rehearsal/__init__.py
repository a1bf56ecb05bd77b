"""What the rehearsal is made of: an image, a network, what Google would provide, and machines that are real kernels."""
