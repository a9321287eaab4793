"""Whether a worker at an address speaks the protocol: what `siwat check` runs."""
