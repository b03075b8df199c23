"""Predictions and models as challenges want them: targets that anybody can add, and a rehearsal of containers."""
