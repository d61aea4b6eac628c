"""Apps that are called without a server, bare and with whatever guards them."""
