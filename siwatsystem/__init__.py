"""Detector worker: reads cameras, runs `.mpta` pipelines on them and tells a backend what it saw."""

__version__ = "0.1.0"
