"""What the worker promises when things go wrong, shown with the real things; the promises are in
docs/reliability.md. `python -m tests.faults` measures all of them at length."""
