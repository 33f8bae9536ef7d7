"""The compiled part of the package: where there is no C compiler, the package is installed without it."""

import sys

from setuptools import Extension, find_packages, setup

FLAGS = ["/O2", "/fp:fast"] if sys.platform == "win32" else [
    "-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
    "-ffinite-math-only", "-Wno-psabi"]

ENGINE, FILES = "rlenhance/engine", ("render", "pyramid", "convolve", "lookup", "kernels")

# Nothing but `rlenhance` goes into site-packages, where other packages are called agents or envs.
BESIDE = ("envs", "agents", "experiments")
PACKAGES = find_packages(include=["rlenhance", "rlenhance.*"]) + [
    f"rlenhance.{name}" for name in find_packages(include=[each for name in BESIDE for each in (name, f"{name}.*")])]

setup(packages=PACKAGES, package_dir={"": ".", **{f"rlenhance.{name}": name for name in BESIDE}},
      ext_modules=[Extension("rlenhance.engine._compiled", [f"{ENGINE}/{name}.c" for name in FILES], optional=True,
                             depends=[f"{ENGINE}/compiled.h"], extra_compile_args=FLAGS, py_limited_api=True)],
      options={"bdist_wheel": {"py_limited_api": "cp311"}})
