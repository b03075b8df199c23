"""Loss terms used by more than one training method."""
