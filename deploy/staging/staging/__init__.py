"""The staging environment: an image, a network, Google's services, and real kernels."""
