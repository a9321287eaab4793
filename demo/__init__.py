"""The demo: rendered fuel-station scenes, the small weights trained on them, and clips to play."""
