"""Planners: from a fingerprint and a budget to a plan."""
