"""How one chunk of pictures is made: the ordinary diffusers pipeline, with the interventions let in at their doors."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from diffusion_base.conditioning import PromptEmbeddings, encode_negative_prompts, encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.identity import base_hash, json_hash, precision_of
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.pipeline import Pipeline

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Sampler:
    """All pictures of one call, and how they are made; the arguments are those of `generation.generate`."""

    def __init__(
        self,
        pipeline: Pipeline,
        prompts: Sequence[str],
        seeds: Sequence[int],
        interventions: Sequence[Intervention] = (),
        records: Sequence[dict] | None = None,
        *,
        num_inference_steps: int = 25,
        guidance_scale: float = 7.5,
        negative_prompt: str | Sequence[str] = "",
        height: int | None = None,
        width: int | None = None,
        mixed_precision: Literal["no", "bf16", "fp16"] = "no",
    ):
        self.pipeline, self.family = pipeline, family_of(pipeline)
        self.prompts, self.seeds = list(prompts), list(seeds)
        one_for_all = isinstance(negative_prompt, str)
        self.negative_prompts = [str(negative_prompt)] * len(prompts) if one_for_all else list(negative_prompt)
        self.records = [{} for _ in prompts] if records is None else list(records)
        self.given = list(interventions)
        self.interventions = [each for each in self.given if each.strength != 0]  # at 0 it is the base, by any method
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.height, self.width = height, width
        self.mixed_precision = mixed_precision
        if len({len(rows) for rows in (self.prompts, self.negative_prompts, self.seeds, self.records)}) > 1:
            raise UserError("prompts, seeds, negative prompts and records must be equally many")
        if mixed_precision != "no" and mixed_precision not in AUTOCAST:
            raise UserError(f"mixed_precision must be no, bf16 or fp16, not {mixed_precision}")
        if not math.isfinite(guidance_scale):
            raise UserError(f"guidance_scale {guidance_scale}: it must be a finite number")
        for intervention in self.given:
            check_strengths(strength=intervention.strength)  # it may have been set since
        # Chunks of one prompt follow each other. A chunk is encoded as one batch, for the bits that the pipeline gets.
        self.encode = lru_cache(8)(lambda prompts: encode_prompts(pipeline, list(prompts)))
        self.encode_negative = lru_cache(8)(lambda prompts: encode_negative_prompts(pipeline, list(prompts)))

    def context(self, rows: range) -> Context:
        part = slice(rows.start, rows.stop)
        return Context(
            self.pipeline,
            self.prompts[part],
            self.negative_prompts[part],
            self.seeds[part],
            self.records[part],
            self.family.is_guided(self.pipeline, self.guidance_scale),
            guidance_scale=self.guidance_scale,
            mixed_precision=self.mixed_precision,
        )

    def begin(self) -> None:
        """Make every intervention ready for all the pictures; before the first one, and before `weights_swapped`."""
        context = self.context(range(len(self.prompts)))
        for intervention in self.interventions:
            intervention.begin(context)

    @contextmanager
    def weights_swapped(self) -> Iterator[None]:
        """Door 4, once for the whole call: weights are costly to move, and the text encoder's count for the prompts."""
        context = self.context(range(len(self.prompts)))
        with ExitStack() as stack:
            for intervention in self.interventions:
                stack.enter_context(intervention.swap_weights(context))
            yield

    @torch.no_grad()
    def sample(self, rows: range) -> list[Image.Image]:
        """Make one chunk."""
        context = self.context(rows)
        texts = list(context.prompts)
        for intervention in self.interventions:
            texts = intervention.edit_text(context, texts)
        conditional = self.encode(tuple(texts))
        unconditional = self.encode_negative(tuple(context.negative_prompts))
        for intervention in self.interventions:
            conditional, unconditional = intervention.edit_prompts(context, conditional, unconditional)
        generators = [torch.Generator().manual_seed(seed) for seed in context.seeds]
        shape = self.family.latent_shape(self.pipeline, self.height, self.width)
        noise = torch.cat([torch.randn((1, *shape), generator=generator) for generator in generators])
        latents = noise.to(conditional.embeds)
        for intervention in self.interventions:
            latents = intervention.edit_latents(context, latents)

        inputs = self.embedding_inputs(conditional, unconditional if context.guided else None)
        denoiser = self.family.denoiser(self.pipeline)
        with ExitStack() as stack:
            if self.mixed_precision != "no":
                stack.enter_context(torch.autocast(latents.device.type, AUTOCAST[self.mixed_precision]))
                # the latents stay in the precision they came in: the scheduler takes on that of the prediction
                keep = denoiser.register_forward_hook(lambda _, __, output: (output[0].to(latents.dtype),))
                stack.callback(keep.remove)
            if self.interventions:
                counter = denoiser.register_forward_pre_hook(partial(self.count_step, context), with_kwargs=True)
                stack.callback(counter.remove)
            for intervention in self.interventions:
                stack.enter_context(intervention.hook(context, denoiser))
            return self.pipeline(
                **inputs,
                latents=latents,
                callback_on_step_end=partial(self.end_of_step, context),
                generator=generators,  # for the schedulers that draw noise at each step
                num_inference_steps=self.num_inference_steps,
                guidance_scale=self.guidance_scale,
                height=self.height,
                width=self.width,
            ).images

    def embedding_inputs(self, conditional: PromptEmbeddings, unconditional: PromptEmbeddings | None) -> dict[str, Any]:
        """The pipeline's arguments for both branches, or for the one without guidance."""
        if unconditional is not None and conditional.embeds.shape != unconditional.embeds.shape:
            raise UserError(
                f"the interventions leave a conditional branch of shape {tuple(conditional.embeds.shape)} and an "
                f"unconditional one of {tuple(unconditional.embeds.shape)}; they must be equal"
            )
        return self.family.embedding_arguments(conditional, unconditional)

    def count_step(self, context: Context, _denoiser, arguments: tuple, options: dict) -> None:
        context.step += 1
        context.timestep = self.family.timestep(arguments, options)

    def end_of_step(self, context: Context, pipeline: Pipeline, step: int, _timestep, tensors: dict) -> dict:
        latents = tensors["latents"]
        for intervention in self.interventions:
            latents = intervention.end_of_step(context, latents)
        if step == pipeline.num_timesteps - 1:
            self.check_decodable(context, latents)
        return {"latents": latents}

    def check_decodable(self, context: Context, latents: Tensor) -> None:
        """Refuse latents that the decoder, which squares them, would turn into a black picture.

        Raises:
            UserError: naming the first such picture.
        """
        decodable = latents.float().square().flatten(1).sum(1).isfinite()
        if decodable.all():
            return
        row = int(decodable.int().argmin())
        strengths = [f"the strength {each.strength:g} of {type(each).__name__}" for each in self.interventions]
        precision = ", or load the base in float32" if latents.dtype == torch.float16 else ""
        raise UserError(
            f"the picture of {context.prompts[row]!r} with seed {context.seeds[row]} came to numbers too large to be a "
            f"picture: lower {' or '.join([f'the guidance scale {self.guidance_scale:g}', *strengths])}{precision}"
        )

    def identity(self) -> dict[str, Any]:
        """What decides the pictures (up to rounding); JSON."""
        scheduler, negative = self.pipeline.scheduler, self.negative_prompts
        config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
        identity = {
            "base": base_hash(self.pipeline),
            "dtype": precision_of(self.pipeline),
            "scheduler": {"class": type(scheduler).__name__, **config},
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "negative_prompt": negative[0] if len(set(negative)) == 1 else negative,
            "size": [self.height, self.width],
            "mixed_precision": self.mixed_precision,
            "interventions": [intervention.describe() for intervention in self.given],
            "records": json_hash(self.records),
        }
        return json.loads(json.dumps(identity))
