"""Example archives beside the demo's, and what made them."""
