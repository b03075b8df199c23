"""Cases, modalities, labels and the supervision that each case has; importers, checks and splits."""
