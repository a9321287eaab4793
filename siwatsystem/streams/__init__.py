"""Sources: one reader thread per camera address."""
