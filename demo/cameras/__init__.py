"""Cameras for the demo and for tests: clips played for ever over RTSP and as HTTP snapshots."""
