"""Training methods, each a frozen dataclass."""
