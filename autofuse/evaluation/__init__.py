"""Masks against references: scores per case and class, tables."""
