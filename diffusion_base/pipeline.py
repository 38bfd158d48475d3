"""Load a Stable Diffusion base: 1.x, 2.x, XL or 3.x, from a diffusers folder or the hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from diffusion_base.errors import UserError
from diffusion_base.families import FAMILIES, Pipeline, known
from diffusion_base.identity import base_hash, modules_of, remember_base
from diffusion_base.processes import usable_device

# what a component's folder must hold: one of each group; all others are models
VOCABULARY = ("tokenizer.json", "vocab.json", "spiece.model")
COMPONENT_FILES = {"tokenizer": (VOCABULARY,), "scheduler": (("scheduler_config.json",),)}
MODEL_FILES = (("config.json",), ("*.safetensors", "*.bin"))
NOT_USED = {"safety_checker", "feature_extractor", "image_encoder"}


def load_pipeline(
    name_or_path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    revision: str | None = None,
    variant: str | None = None,
    cache_dir: str | None = None,
) -> Pipeline:
    """Load a base, frozen and in evaluation mode, without safety checker.

    It samples by DPM-Solver++ (Lu et al. 2022), and SD 3.x, which is no diffusion model, by its own scheduler.

    Args:
        name_or_path: a diffusers folder, or a name on the hub.
        dtype: of all weights; float32 is exact. The base's identity is the same in all.
        device: None is the GPU where there is one.
        revision, variant, cache_dir: of the weights, as in diffusers.

    Raises:
        UserError: neither a folder nor to be had from the hub; another kind of model; a component missing or broken;
            no such device.
    """
    name = str(name_or_path)
    where = usable_device(device)
    local = Path(name).is_dir()
    if Path(name).is_file():
        raise UserError(
            f"--pretrained_model_name_or_path {name} is a file, and a diffusers folder is needed, such as diffusers' "
            "from_single_file(…).save_pretrained(…) makes of it"
        )
    if not local and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"--pretrained_model_name_or_path {name}: there is no such folder")
    try:
        with _without_progress_bars() if local else nullcontext():
            index = DiffusionPipeline.load_config(name, revision=revision, cache_dir=cache_dir)
            wanted = index.get("_class_name")
            family = next((family for family in FAMILIES if family.PIPELINE.__name__ == wanted), None)
            if family is None:
                raise UserError(f"{name} is a {wanted}; the bases that can be used are {known()}")
            if local:
                _check_components(Path(name), index, family.COMPONENTS)
            options = {"revision": revision, "variant": variant, "cache_dir": cache_dir}
            options |= family.loading_options(index)
            load = partial(family.PIPELINE.from_pretrained, name, **options)
            # bfloat16 keeps too little of the weights to know the base by, so it is known before
            known_as = None if dtype in (torch.float32, torch.float16) else base_hash(load(dtype=torch.float16))
            pipeline = load(dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        origin = "" if local else "is no folder, and from the hub it "
        raise UserError(f"{name} {origin}cannot be loaded: {' '.join(str(error).split())}") from error
    pipeline.scheduler = family.sampling_scheduler(pipeline)
    for module in modules_of(pipeline).values():
        module.requires_grad_(False).eval()
    if known_as:
        remember_base(pipeline, known_as)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(where)


def _check_components(folder: Path, index: dict, needed: tuple[str, ...]) -> None:
    """Name the component that a folder lacks; `index` is its model_index.json."""
    named = {name for name, entry in index.items() if isinstance(entry, list) and entry[0] is not None} - NOT_USED
    for component in dict.fromkeys((*needed, *sorted(named))):
        for names in COMPONENT_FILES.get(component.rstrip("_23"), MODEL_FILES):
            if not any(path for name in names for path in (folder / component).glob(name)):
                raise UserError(f"{folder} lacks its {component}: no {' or '.join(names)} in {folder / component}")


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Reading a local folder takes a moment and needs no bars; downloads keep theirs."""
    shown = [library for library in (diffusers, transformers) if library.utils.logging.is_progress_bar_enabled()]
    for library in shown:
        library.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.utils.logging.enable_progress_bar()
