"""Checks of this machine and installation: versions, GPU, memory, disk, plugins."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from ssl_seg.errors import pluralize

Check = tuple[bool, str, str]


def machine_checks() -> Iterator[Check]:
    """Whether a check passed, its name, and a line of text."""
    names = ("ssl-seg", "torch", "torchvision", "timm", "accelerate", "safetensors", "pillow")
    yield True, "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield True, "versions", ", ".join(f"{name} {version(name)}" for name in names)
    yield from _gpu()
    yield _vision()
    yield from _memory_and_disk()
    yield from _plugins()


def _gpu() -> Iterator[Check]:
    import torch

    from ssl_seg.engine.device_names import has_bf16

    built = torch.version.cuda
    driver = Path("/proc/driver/nvidia/version")
    if torch.cuda.is_available():
        free, capacity = torch.cuda.mem_get_info()
        yield (
            True,
            "gpu",
            f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {capacity / 2**30:.0f} GiB free",
        )
        yield True, "cuda", f"torch is built for {built}"
        yield True, "bf16", "yes" if has_bf16(torch.device("cuda")) else "no; runs in fp32"
    elif built and driver.exists():
        first = driver.read_text().splitlines()[0]
        yield (
            False,
            "gpu",
            f"NVIDIA driver found ({first}), but this torch build (CUDA {built}) cannot use it",
        )
        yield False, "next", "uv pip install --torch-backend=auto --reinstall-package torch torch torchvision"
    else:
        yield True, "gpu", f"none; torch {'for CUDA ' + built if built else 'without CUDA'} runs on the CPU"
        cores, threads = os.cpu_count() or 1, torch.get_num_threads()
        yield True, "cpu", f"{pluralize(cores, 'core')}, torch uses {pluralize(threads, 'thread')}"
        bf16 = "yes, AMX" if has_bf16(torch.device("cpu")) else "no AMX; runs in fp32"
        yield True, "bf16", bf16
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    yield True, "compile", f"--compile uses {compiler}" if compiler else "--compile needs a C compiler"


def _vision() -> Check:
    try:
        import torchvision.ops  # noqa: F401  fails when torch and torchvision do not match
    except Exception as error:
        return False, "torchvision", f"incompatible with torch: {error}; install both in one command"
    return True, "torchvision", "compatible with torch"


def _memory_and_disk() -> Iterator[Check]:
    from ssl_seg.utils.home import default_cache_dir

    info = Path("/proc/meminfo")
    if info.exists():
        words = {line.split(":")[0]: line.split()[1] for line in info.read_text().splitlines()}
        yield True, "memory", f"{int(words['MemAvailable']) / 2**20:.0f} GiB available"
    for name, path in (("cache", default_cache_dir()), ("here", Path.cwd())):
        existing = next(folder for folder in [path, *path.parents] if folder.exists())
        free = shutil.disk_usage(existing).free / 2**30
        writable = os.access(existing, os.W_OK)
        text = f"{path}: {free:.0f} GiB free{'' if writable else ', not writable'}"
        yield writable and free > 1, f"disk {name}", text


def _plugins() -> Iterator[Check]:
    from ssl_seg.plugins import load_plugins
    from ssl_seg.registry import KINDS

    registry = load_plugins().registry
    yield True, "plugins", ", ".join(f"{len(registry.names(kind))} {kind}" for kind in KINDS)
    for error in registry.conflicts_and_errors():
        yield False, "plugin", error
