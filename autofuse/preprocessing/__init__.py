"""From raw cases to a store of cropped, resampled, normalised, checksummed cases."""
