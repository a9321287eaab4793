"""An archive over recordings and cameras: the engine of `run`, free of the command line."""
