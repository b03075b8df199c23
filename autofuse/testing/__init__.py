"""The conformance suite that every registered planner and trainer passes."""
