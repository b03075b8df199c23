"""Which patch each step sees, read from the store, and how it is augmented."""
