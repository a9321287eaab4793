"""Cameras: opened, read, watched and opened again; one thread and the newest frame per source."""
