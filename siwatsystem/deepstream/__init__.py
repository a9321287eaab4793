"""The control server: what it says to analysis apps and clients, and the state core that decides."""
