"""Work units: what there is to do, what is done, who is at it; and executors, which do not know what a unit does."""
