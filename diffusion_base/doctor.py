"""What this installation can do: versions, device, attention, precision, optional parts.

python -m diffusion_base.doctor
"""

import importlib.metadata
import platform
import re
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion_base.errors import UserError, run

if TYPE_CHECKING:  # what may be missing is imported where it is used: the doctor must not fall ill of it
    import torch
    from packaging.requirements import Requirement

DISTRIBUTION = "t2i-align"
INSTALL = "pip install -e . -c constraints.txt"

WITHOUT = {
    "nudenet": "no NudeNet judge",
    "onnxruntime": "no NudeNet judge",
    "gradio": "nothing yet: there is no web demo",
    "wandb": "no --report_to=wandb; tensorboard is the default",
    "bitsandbytes": "no --optimizer adamw_8bit",
    "torchvision": "nothing: pictures are processed by PIL",
    "torch-fidelity": "nothing: FID's Inception is scorers/inception.py, its weights a local file",
    "xformers": "--enable_xformers_memory_efficient_attention falls back to torch's attention",
    "deepspeed": "no ZeRO-2 (scripts/accelerate/zero2.yaml)",
}


def main(argv: list[str] | None = None) -> None:
    """Print the report.

    Raises:
        UserError: a package that everything needs is missing or has another version than the one asked for.
    """
    for package in ("torch", "packaging"):
        if _version(package) is None:
            raise UserError(f"{package} is not installed; run: {INSTALL}")
    if _version(DISTRIBUTION) is None:
        raise UserError(f"{DISTRIBUTION} itself is not installed; run: {INSTALL}")
    required, optional = _requirements()
    print(f"Python        {platform.python_version()} on {platform.system()} {platform.machine()}")
    for line in [*_device(), *_precision(), f"attention     {_attention()}"]:
        print(line)
    print("\nNeeded")
    faults = []
    for requirement in required:
        found = _version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        if not fits:
            faults.append(requirement)
        print(f"  {'✓' if fits else '✗'} {requirement.name:<22} {found or 'missing'}  {requirement.specifier}")
    print("\nOptional")
    for requirement, extra in optional:
        if found := _version(requirement.name):
            print(f"  ✓ {requirement.name:<22} {found}")
        else:
            cost = WITHOUT.get(requirement.name, f"a part of an older version; run: {INSTALL}")
            print(f"  – {requirement.name:<22} missing: {cost} (pip install -e '.[{extra}]')")
    if faults:
        needed = ", ".join(map(str, faults))
        raise UserError(f"this installation lacks {needed}; run: {INSTALL}")


def _requirements() -> tuple[list["Requirement"], list[tuple["Requirement", str]]]:
    """What the project needs, and what each of its extras adds (those for its own development aside)."""
    from packaging.requirements import Requirement

    required, optional = [], []
    for requirement in map(Requirement, importlib.metadata.requires(DISTRIBUTION) or []):
        extra = re.search(r'extra == "(.+?)"', str(requirement.marker))
        if extra is None:
            required.append(requirement)
        elif extra[1] != "dev":
            optional.append((requirement, extra[1]))
    return required, optional


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> list[str]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [f"device        {p.name}, {p.total_memory / 2**30:.0f} GiB (CUDA {torch.version.cuda})" for p in names]
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    instructions = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", text)]
    processor = name[1] if name else platform.processor()
    return [f"device        CPU: {processor}, {torch.get_num_threads()} threads, {' '.join(instructions)}".rstrip(", ")]


def best_precision() -> str:
    """The `mixed_precision` that pays here, bf16 or no."""
    full, half = _matrix_speeds()
    return "bf16" if half > 1.5 * full else "no"


def _precision() -> list[str]:
    full, half = _matrix_speeds()
    return [
        f"matrix speed  float32 {full:,.0f} GFLOP/s, bfloat16 {half:,.0f} GFLOP/s ({half / full:.1f}×): "
        f"mixed_precision={best_precision()} pays"
    ]


@cache
def _matrix_speeds() -> tuple[float, float]:
    """GFLOP/s in float32 and in bfloat16: measured, since a processor's name and flags mislead."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return _matrix_speed(torch.float32, device), _matrix_speed(torch.bfloat16, device)


def _matrix_speed(dtype: "torch.dtype", device: str) -> float:
    """GFLOP/s of a square matrix product, the best of five."""
    import torch

    size = 4096 if device == "cuda" else 1024
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(6):  # the first one warms up
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the result
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds[1:]) / 1e9


def _attention() -> str:
    import torch

    if not torch.cuda.is_available():
        return "torch scaled_dot_product_attention"
    backends = {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "cuDNN": torch.backends.cuda.cudnn_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
    }
    return f"torch scaled_dot_product_attention ({', '.join(name for name, on in backends.items() if on)})"


if __name__ == "__main__":
    run(main)
