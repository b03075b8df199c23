"""Colours that tell classes apart on grey images, also for the colour-blind; the same class has the same everywhere."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

# Okabe and Ito's palette, lightened for a dark ground, its grey and black left out.
_FIRST: tuple[Colour, ...] = (
    (255, 176, 32),
    (86, 190, 255),
    (40, 214, 150),
    (255, 110, 84),
    (222, 140, 235),
    (248, 236, 90),
    (96, 128, 255),
)
_GOLDEN_ANGLE = 0.381966


def class_colour(index: int) -> Colour:
    """Colour of class index 1, 2 ...; seven chosen ones, then hues a golden angle apart."""
    if index <= len(_FIRST):
        return _FIRST[index - 1]
    red, green, blue = colorsys.hsv_to_rgb((index * _GOLDEN_ANGLE) % 1.0, 0.6, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
