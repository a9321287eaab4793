"""Tracking and a zone: each car that drives up is told once."""
