"""A trained model as one file for a stranger, and a stranger's file as a model: bundles and ONNX networks.

Whoever exports must be sure that nothing of the patients goes with it, whoever imports that nothing in it can run.
"""
