"""What a training method is, and the one loop that runs all of them."""
