"""What a notebook imports: the LoRA, through the weights' door."""

from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from diffusion_base.errors import UserError
from diffusion_base.families import Pipeline, family_of
from diffusion_base.identity import file_hash, learned_elsewhere
from diffusion_base.intervention import Intervention

NAME, FILE = "my_method", "my_method.safetensors"


class Lora(Intervention):
    """Adds strength · B A to every weight that has one."""

    def __init__(self, path: str | Path, *, pipeline: Pipeline, strength: float = 1.0, other_base: bool = False):
        self.file, self.strength = Path(path) / FILE, strength
        try:
            with safe_open(self.file, framework="pt") as file:
                self.tensors, base = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()["base_hash"]
        except (OSError, SafetensorError, TypeError, KeyError) as error:  # the latter two: another method's file
            raise UserError(f"{self.file} can't be read ({error}): give the folder of a finished training") from None
        self.warning = learned_elsewhere(base, pipeline, str(self.file), other_base)

    @contextmanager
    def swap_weights(self, context):
        denoiser, own = family_of(context.pipeline).denoiser(context.pipeline), {}
        try:
            for name in {key.partition(".lora_")[0] for key in self.tensors}:
                layer = denoiser.get_submodule(name)
                a, b = (self.tensors[f"{name}.lora_{part}.weight"].to(layer.weight) for part in "AB")
                own[layer] = layer.weight
                layer.weight = nn.Parameter(layer.weight + self.strength * b @ a, requires_grad=False)
            yield
        finally:
            for layer, weight in own.items():
                layer.weight = weight  # the very tensors of before

    def describe(self) -> dict:
        return {"method": NAME, "weights": file_hash(self.file), "strength": self.strength, **self.warning}
