"""The simulated providers, over real sockets."""
