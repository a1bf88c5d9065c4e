"""Facts about the computer and what is installed; judges nothing."""

import hashlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from sfv.doctor.diagnosis import Disk, Extra, Gpu, Machine, Torch, Weights

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
CGROUP = Path("/sys/fs/cgroup")
SUMS = "SHA256SUMS"
HIDDEN = ("dev",)
"""Extras that are not for users."""


def machine() -> Machine:
    """The computer, as far as this process may use it."""
    memory, limit = psutil.virtual_memory(), _limit("memory.max")
    used = _limit("memory.current") or 0
    return Machine(
        system=f"{_system()} ({platform.machine()})",
        python=platform.python_version(),
        cpu=_cpu_line("model name") or platform.processor() or "unknown CPU",
        cores=psutil.cpu_count(logical=False) or 1,
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=quota(),
        flags=tuple(f for f in FLAGS if f in _cpu_line("flags").split()),
        memory=min(memory.total, limit or memory.total),
        free=min(memory.available, limit - used) if limit else memory.available,
    )


def _system() -> str:
    """The distribution's own name on Linux, else the system's."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError, AttributeError):
        return f"{platform.system()} {platform.release()}"


def _cpu_line(name: str) -> str:
    """A line of /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def quota() -> float | None:
    """CPUs that a container's limit leaves (cgroup version 2); None without one."""
    try:
        allowed, period = (CGROUP / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        return None


def _limit(name: str) -> int | None:
    try:
        return int((CGROUP / name).read_text())
    except (OSError, ValueError):  # "max" is no number: no limit
        return None


def torch_facts() -> Torch:
    """The build of torch and the cards it sees."""
    import torch

    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return Torch(
        version=torch.__version__,
        cuda=torch.version.cuda,
        threads=torch.get_num_threads(),
        capability=torch.backends.cpu.get_cpu_capability(),
        gpus=tuple(Gpu(name=c.name, memory=c.total_memory, capability=f"sm_{c.major}{c.minor}") for c in cards),
        driver=driver(),
    )


def driver() -> str | None:
    """Version of the NVIDIA driver, by nvidia-smi; None where there is none or it does not answer."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def disk(folder: Path) -> Disk:
    """The cache folder, or the nearest folder above it that exists."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        free: int | None = shutil.disk_usage(there).free
    except OSError:
        free = None
    return Disk(folder=str(folder), free=free, writable=there.is_dir() and os.access(there, os.W_OK))


def weights(folder: Path | None = None) -> Weights:
    """The embedded weights against the sums that ship beside them (`sha256sum -c SHA256SUMS` checks the same)."""
    folder = folder or Path(str(files("sfv"))) / "weights"
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError:
        return Weights(folder=str(folder), files=0, size=0, damaged=(SUMS,))
    sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    damaged = tuple(name for name, digest in sums.items() if _sum(folder / name) != digest)
    size = sum((folder / name).stat().st_size for name in sums if (folder / name).is_file())
    return Weights(folder=str(folder), files=len(sums), size=size, damaged=damaged)


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def extras(package: str = "sfv") -> tuple[Extra, ...]:
    """Every optional part and what it lacks; none where the package was not installed but put on the path."""
    try:
        names = metadata.metadata(package).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return ()
    shown = [n for n in names if n not in HIDDEN]
    return tuple(Extra(name=n, missing=lacking(package, n), pip=f'pip install "{package}[{n}]"') for n in shown)


def lacking(package: str, extra: str = "") -> tuple[str, ...]:
    """Requirements of a package (of its extra alone, if one is named) that are not installed in a version it takes."""
    try:
        lines = [Requirement(line) for line in metadata.requires(package) or []]
    except metadata.PackageNotFoundError:
        return ()
    wanted = [r for r in lines if (not r.marker or r.marker.evaluate({"extra": extra})) and _of(r, extra)]
    found = [_plain(r) for r in wanted if not _met(r)]
    found += [f for r in wanted if _met(r) for part in sorted(r.extras) for f in lacking(r.name, part)]
    return tuple(dict.fromkeys(found))


def _of(requirement: Requirement, extra: str) -> bool:
    """Whether it belongs to the extra, or to the package itself if no extra is named."""
    return bool(extra) == ("extra ==" in str(requirement.marker))


def _met(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"
