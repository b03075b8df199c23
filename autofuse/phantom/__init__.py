"""A synthetic multi-modal data set whose truth is known; the demo, tests and benchmarks use it."""
