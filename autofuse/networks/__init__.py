"""Network blocks that can say what they cost, and the topologies in which modalities meet."""
