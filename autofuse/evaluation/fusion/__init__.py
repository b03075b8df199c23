"""Fused images judged: metrics, the trivial fusions beside them, and the Dice of a segmenter that saw neither."""
