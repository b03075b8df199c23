"""What a data set is, measured."""
