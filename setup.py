"""Map the three top-level folders to the import packages that they are: the engine, its planners, its trainers.

Everything else about the distribution stands in pyproject.toml.
"""

from setuptools import find_packages, setup

FOLDERS = {"autofuse": "autofuse", "autofuse_planners": "planners", "autofuse_trainers": "trainers"}


def packages() -> list[str]:
    """Every package below the three folders, under its import name."""
    found = []
    for name, folder in FOLDERS.items():
        found += [name, *(f"{name}.{inner}" for inner in find_packages(folder))]
    return found


setup(package_dir=FOLDERS, packages=packages())
