"""Which seeds are for what. The ranges are disjoint: no picture that trains ever measures."""

from __future__ import annotations

TRAINING = range(1_000_000, 1_001_100)
VALIDATION = range(2_000_000, 2_000_120)
EVALUATION = range(3_000_000, 3_001_000)
CLIPS = {"dusk-visit": 4_000_001, "morning-rush": 4_000_002, "rainy-night": 4_000_003}
TRAFFIC = range(5_000_000, 5_001_000)
TRAFFIC_TRAINING = range(10_000_000, 10_000_100)
TRAFFIC_VALIDATION = range(11_000_000, 11_000_010)
