"""The parts of the rehearsal: an image, a network, Google's services, and real kernels."""
