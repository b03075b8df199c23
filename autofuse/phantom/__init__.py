"""A synthetic multi-modal data set whose truth is known; the demo, tests and benchmarks use it."""

from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom

__all__ = ["PhantomOptions", "write_phantom"]
