"""Builds amint_mpc/mpc/ring/_native.so with the C compiler of this machine; without one the package is slower."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC")  # no -march: the kernel is chosen when the program runs


def compiled(sources: list[Path], library: Path) -> str:
    """Builds the library. Returns why not, or nothing."""
    reason = "no C compiler (CC, cc, gcc, clang) was found"
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        program, *options = shlex.split(command or "") or [""]
        path = shutil.which(program)
        if path is None:
            continue
        new = library.with_suffix(".new")
        done = subprocess.run(
            [path, *options, *FLAGS, "-o", str(new), *map(str, sources)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            new.replace(library)  # a process that has the old one loaded keeps it
            return ""
        reason = f"{path} failed: {done.stderr.strip()}"
    return reason


class NativeLibrary(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root, "amint_mpc", "mpc", "ring")
        library = folder / "_native.so"
        library.unlink(missing_ok=True)
        sources = [folder / "_ring.c", folder / "_sign.c", folder.with_name("ot") / "_ot.c"]
        if reason := compiled(sources, library):
            self.app.display_warning(
                f"The functions in C are not built; the secure computation will be slower. {reason}"
            )
            return
        build_data["artifacts"].append("/amint_mpc/mpc/ring/_native.so")  # git ignores it, the wheel has it
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
