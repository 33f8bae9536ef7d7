"""The compiled part of the package: where there is no C compiler, the package is installed without it."""

import sys

from setuptools import Extension, setup

FLAGS = ["/O2", "/fp:fast"] if sys.platform == "win32" else [
    "-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
    "-ffinite-math-only", "-Wno-psabi"]

ENGINE, FILES = "rlenhance/engine", ("render", "pyramid", "convolve", "lookup")

setup(ext_modules=[Extension("rlenhance.engine._compiled", [f"{ENGINE}/{name}.c" for name in FILES], optional=True,
                             depends=[f"{ENGINE}/compiled.h"], extra_compile_args=FLAGS, py_limited_api=True)],
      options={"bdist_wheel": {"py_limited_api": "cp311"}})
