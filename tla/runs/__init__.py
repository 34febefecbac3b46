"""One trained network, and many of them."""
