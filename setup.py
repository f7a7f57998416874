"""The package is called antlr_snn and lies in the folder app; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=["antlr_snn", *(f"antlr_snn.{name}" for name in find_packages("app")), "antlr_snn.configs"],
    package_dir={"antlr_snn": "app", "antlr_snn.configs": "configs"},
    package_data={"antlr_snn.configs": ["*.yaml"], "antlr_snn.report": ["*.yaml", "assets/*"]},
)
