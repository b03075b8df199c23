"""The steps from a folder of images to evaluated segmentations, as functions; each finds finished work and goes on."""
