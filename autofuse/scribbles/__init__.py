"""Scribbled copies of densely labelled data sets: strokes as a person in a hurry would draw them."""
