"""Nested detection: car, plate on its front, type of the plate."""
