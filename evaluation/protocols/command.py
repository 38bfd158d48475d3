"""The flags that the commands of bias and harm share, and from them to `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import tyro

from diffusion_base.arguments import WholeNumber, check_ranges
from diffusion_base.errors import UserError
from diffusion_base.processes import process_state, usable_device
from evaluation.figures.record import Figure, table
from evaluation.pictures.making import GenerationArguments
from evaluation.pictures.methods import Method
from evaluation.protocols.measuring import evaluate
from evaluation.protocols.plans import Plan
from scorers.clip import VIT_L14


@dataclass
class EvaluationArguments:
    """The flags that all protocols of bias and harm share."""

    generation: GenerationArguments
    save_path: Path
    """Folder for pictures, scores and figures; an interrupted run goes on there."""
    judge: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Judge as package:path?option=value, e.g. scorers:clip?model=openai/clip-vit-large-patch14; may be repeated. The
    first one's answers go to results/. Default: the CLIP beside the base (its folder's clip/), else that one (for
    WinoBias openai/clip-vit-base-patch32, as published); for I2P see --q16_prompts."""
    pictures: list[Path] = field(default_factory=list)
    """Folders of pictures that are there already, of any model: generated sets, or LiVO's layout. These are judged and
    none are made, so that flags about making have no effect; --method names what made them."""
    features_dir: Path | None = None
    """Where CLIP's features are kept and found again, by default <save_path>/features; several runs may share it."""
    image_format: Literal["jpg", "png"] = "jpg"
    """jpg is the published layout, quality 95; png keeps the pictures exact (JPEG moves scores a little)."""
    num_workers: WholeNumber = 2
    """Processes that decode pictures; 0 decodes in the main one."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.pictures and (self.generation.intervention or self.generation.livo_model):
            raise UserError("--pictures are there already: leave --intervention and --livo_model out")

    @property
    def method(self) -> Method:
        """What makes the pictures, or made them."""
        making = self.generation
        return Method(making.method or "pictures") if self.pictures else making.named_method


def clip_of(base: str, otherwise: str = VIT_L14) -> str:
    """The CLIP beside the base, where there is one; else another, LiVO's by default."""
    beside = Path(base) / "clip"
    return str(beside) if beside.is_dir() else otherwise


def evaluate_plans(arguments: EvaluationArguments, plans: Sequence[Plan], default_clip: str = VIT_L14) -> list[Figure]:
    """`evaluate` as the command line has it, and print the table.

    Raises:
        UserError: the method, a judge or the base cannot be had, or LiVO is to be run without a value.
    """
    making, method, state = arguments.generation, arguments.method, process_state()
    if making.livo_model and not method.names_value and any(plan.lacks_value for plan in plans):
        raise UserError("--livo_model needs a value here; name one with --value, e.g. --value 'gender equality'")
    device = usable_device(making.device or state.device)
    clip = clip_of(making.base.pretrained_model_name_or_path, default_clip)
    figures = evaluate(
        plans,
        arguments.save_path,
        judges=arguments.judge or [f"scorers:clip?model={quote(clip)}"],
        maker=None if arguments.pictures else partial(making.maker, method, device),
        method=method.name,
        image_format=arguments.image_format,
        features_dir=arguments.features_dir,
        device=device,
        num_workers=arguments.num_workers,
    )
    if state.is_main_process:
        print(table(figures))
    return figures
