"""Which files of a folder, or of a repository on the hub, hold its weights."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from huggingface_hub import hf_hub_download, list_repo_files, snapshot_download
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from diffusion_base.errors import UserError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WHOLE = re.compile(r"diffusion_pytorch_model(?:\.(?P<variant>\w+?))?(?:-\d+-of-\d+)?\.(?P<kind>safetensors|bin)")
LORAS = ("pytorch_lora_weights", "adapter_model")  # diffusers' and peft's
KINDS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
PIPELINE_INDEX = "model_index.json"
ADAPTER_CONFIG = "adapter_config.json"  # peft's
Listing: TypeAlias = tuple[set[str], Callable[[str], Path]]  # names of files, and what gives one's place on the disk


@dataclass(frozen=True)
class Found:
    """Attributes:
    files: one, or the shards of one.
    whole: whether it is a whole denoiser, as diffusers saves one.
    adapter_config: beside a LoRA that peft saved.
    of_pipeline: whether a whole pipeline's other networks lie beside it.
    """

    files: tuple[Path, ...]
    whole: bool
    adapter_config: Path | None
    of_pipeline: bool


def locate(path: str | Path, denoiser: str, weight_name: str | None = None) -> Found:
    """Find the weights at a path.

    Args:
        path: a file; a folder, or a repository's name on the hub, with a whole denoiser in a subfolder or at its root
            (a whole pipeline too), or with one other file of weights at its root.
        denoiser: the subfolder's name, e.g. "unet".
        weight_name: the file in that folder or repository, where several could be meant.

    Raises:
        UserError: there is nothing at that path, no weights, or several.
    """
    place = Path(path)
    if place.is_file():
        place, weight_name = place.parent, place.name
    if place.is_dir() and str(path):
        names, fetch = _in_folder(place, denoiser, weight_name)
    elif HUB_NAME.fullmatch(str(path)):
        names, fetch = _on_hub(str(path), denoiser, weight_name)
    else:
        raise UserError(f"{path or 'no path'}: there is no such file or folder")
    chosen = [weight_name] if weight_name else _choose(names, denoiser, str(path))
    if missing := set(chosen) - names:
        raise UserError(f"{path}: there is no {missing.pop()} in it")
    folder = chosen[0].rpartition("/")[0]
    config = f"{folder}/{ADAPTER_CONFIG}".removeprefix("/")
    return Found(
        tuple(fetch(name) for name in chosen),
        bool(WHOLE.fullmatch(Path(chosen[0]).name)),
        fetch(config) if config in names else None,
        PIPELINE_INDEX in names and bool(folder),
    )


def _choose(names: Collection[str], denoiser: str, source: str) -> list[str]:
    """A whole denoiser, else the one LoRA or part that there is."""
    for folder in (f"{denoiser}/", ""):
        groups: dict[tuple[bool, str], list[str]] = {}
        for name in sorted(names):
            if name.startswith(folder) and (whole := WHOLE.fullmatch(name.removeprefix(folder))):
                groups.setdefault((whole["kind"] != "safetensors", whole["variant"] or ""), []).append(name)
        if groups:
            return groups[min(groups)]  # safetensors before pickles, full precision before its variants
    for kind in KINDS:
        files = sorted(name for name in names if name.endswith(kind) and "/" not in name)
        if usual := [file for file in files if file.removesuffix(kind) in LORAS]:
            return usual[:1]
        if len(files) > 1:
            raise UserError(f"{source} has several files of weights: choose by weight_name= {' or '.join(files)}")
        if files:
            return files
    raise UserError(
        f"{source} has no weights: neither {denoiser}/ nor files of its own that end in {', '.join(KINDS)}; "
        "weight_name= names one that lies deeper"
    )


def _in_folder(folder: Path, denoiser: str, weight_name: str | None) -> Listing:
    listed = [*folder.glob("*"), *(folder / denoiser).glob("*"), *([folder / weight_name] if weight_name else [])]
    return {file.relative_to(folder).as_posix() for file in listed if file.is_file()}, folder.joinpath


def _on_hub(repository: str, denoiser: str, weight_name: str | None) -> Listing:
    """Of the repository; without a connection, of what was loaded of it before."""
    with hub_errors(repository):
        try:
            names = set(list_repo_files(repository))
        except (httpx.TransportError, OfflineModeIsEnabled):
            loaded = Path(snapshot_download(repository, local_files_only=True))
            return _in_folder(loaded, denoiser, weight_name)

    def fetch(name: str) -> Path:
        with hub_errors(repository):
            return Path(hf_hub_download(repository, name))

    return names, fetch


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn what the hub or the connection to it refuses into a UserError."""
    try:
        yield
    except (httpx.HTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{repository} is no file or folder here, and from the hub it can't be loaded: {reason}"
        ) from None
