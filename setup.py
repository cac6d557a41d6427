"""The wheel also carries what a checkout has beside vxl/: conf, the clips, train.py and evaluate.py."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
CARRIED = ("conf", "examples/clips", "train.py", "evaluate.py", "LICENSE")


class WithShare(build_py):
    """Copies them into vxl/share, where `vxl.option.files.ROOT` finds them."""

    def run(self) -> None:
        """Builds."""
        super().run()
        if self.editable_mode:  # a checkout has them
            return
        for name in CARRIED:
            source, target = HERE / name, Path(self.build_lib) / "vxl" / "share" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)


setup(cmdclass={"build_py": WithShare})
