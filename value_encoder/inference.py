"""The value token at sampling time: what a notebook imports."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel

from diffusion_base.conditioning import PromptEmbeddings, prepend_token
from diffusion_base.errors import UserError
from diffusion_base.families import family_of, sd
from diffusion_base.families.text import tokenize
from diffusion_base.identity import base_of_run, learned_elsewhere, weights_hash
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.noising import per_sample_generator
from diffusion_base.pipeline import Pipeline
from preference_data.schema import NOT_APPLICABLE


def value_tokens(encoder: CLIPTextModel, tokenizer, values: list[str], prompts: list[str]) -> Tensor:
    """One token a row, (B, D): the encoder's end-of-text output for "<value>, <prompt>"; in training and use alike."""
    texts = [f"{value}, {prompt}" for value, prompt in zip(values, prompts, strict=True)]
    ids = tokenize(tokenizer, texts)  # (B, 77)
    # the encoder is causal: what follows the first end of text has no part in its output
    longest = int((ids == tokenizer.eos_token_id).int().argmax(1).max()) + 1
    return encoder(ids[:, :longest].to(encoder.device)).pooler_output


def check_base(pipeline: Pipeline) -> None:
    """Refuse a base with several text encoders: which of them the value encoder should copy, no one has published."""
    if (family := family_of(pipeline)) is not sd:
        raise UserError(
            f"LiVO's value encoder is a copy of the base's one CLIP text encoder, and {family.NAME} has several: "
            "use a Stable Diffusion 1.x or 2.x"
        )


class ValueToken(Intervention):
    """Put a value token in front of the prompt, on all pictures or on a share of them.

    Args:
        encoder: a value encoder's folder (also a run's or a checkpoint's folder that holds `value_encoder/`), the name
            of a published one on the hub, or the model itself.
        value: the statement, e.g. "gender equality"; None takes each picture's from its record. A record's "value"
            always comes first; None, "" and "not applicable" leave that picture the base's, bit for bit.
        pipeline: the base.
        probability: share of pictures that get the token, drawn from each picture's own seed: 1 for harms, 0.5 for
            biases, so that half come from the base's distribution and half from the shifted one. A record's
            "value_applied" (true or false) decides instead of the draw.
        unpadded: as the first implementation sampled: token + prompt without padding, so that the unconditional branch
            is as short. The pictures of one batch must then have prompts of one length.
        strength: 0 is the base, 1 the token as trained; between (and beyond) the token moves on the line from the
            start-of-text embedding, which every prompt has in front anyway.
        other_base: take an encoder that was trained on another base too, e.g. on a fine-tune of it, if its widths fit;
            the description says so. One of which neither it nor its run's folder says the base is always taken.

    Raises:
        UserError: no encoder there, or one of another base; a record's value that is no text; a probability that is no
            share, or a strength beyond ±100.
    """

    reads = ("value", "value_applied")

    def __init__(
        self,
        encoder: str | Path | CLIPTextModel,
        value: str | None = None,
        *,
        pipeline: Pipeline,
        probability: float = 1.0,
        unpadded: bool = False,
        strength: float = 1.0,
        other_base: bool = False,
    ):
        check_base(pipeline)
        check_strengths(strength=strength)
        if not 0 <= probability <= 1:
            raise UserError(f"probability must lie between 0 and 1, not {probability}")
        self.encoder = encoder if isinstance(encoder, CLIPTextModel) else load_value_encoder(encoder)
        self.value = value
        self.probability = probability
        self.unpadded = unpadded
        self.strength = strength
        width, base_width = self.encoder.config.hidden_size, pipeline.unet.config.cross_attention_dim
        if (width, self.encoder.config.vocab_size) != (base_width, pipeline.text_encoder.config.vocab_size):
            raise UserError(
                f"the value encoder ({width} wide) does not fit this base ({base_width} wide): another base's?"
            )
        recorded = self.encoder.config.to_dict().get("base_hash")
        self.warning = learned_elsewhere(recorded, pipeline, "the value encoder", other_base)

    def applied_value(self, record: dict, seed: int) -> str | None:
        """The value whose token a picture gets, or None where it stays the base's."""
        value = record.get("value", self.value)
        if not isinstance(value, str | None):
            raise UserError(
                f"the value of a picture is {value!r}; it must be a text such as 'gender equality', or null"
            )
        if value is None or value.strip().lower() in NOT_APPLICABLE:
            return None
        applied = record.get("value_applied")
        if applied is None:
            applied = is_drawn(seed, self.probability)
        return value if applied else None

    @torch.no_grad()
    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        pictures = zip(context.records, context.seeds, strict=True)
        values = [(value,) if (value := self.applied_value(*picture)) else () for picture in pictures]
        return self.with_values(context, values, conditional, unconditional)

    @torch.no_grad()
    def with_values(
        self,
        context: Context,
        values: Sequence[tuple[str, ...]],
        conditional: PromptEmbeddings,
        unconditional: PromptEmbeddings,
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        """As `edit_prompts`, with each picture's own values: a token each in front of its prompt, in their order."""
        most = max(map(len, values))
        if most == 0:
            return conditional, unconditional
        tokenizer, embeds = context.pipeline.tokenizer, conditional.embeds  # (B, T, D)
        if self.unpadded:
            length = self._unpadded_length(tokenizer, context.prompts, values)
            # the text encoder is causal: the first positions of a padded prompt are the unpadded prompt's
            embeds = embeds[:, :length]
            unconditional = PromptEmbeddings(unconditional.embeds[:, : length + most])
        with_token = embeds.clone()
        for number in reversed(range(most)):
            rows = [i for i, own in enumerate(values) if number < len(own)]
            own_values, prompts = [values[i][number] for i in rows], [context.prompts[i] for i in rows]
            token = value_tokens(self.encoder.to(embeds.device), tokenizer, own_values, prompts)
            if self.strength != 1:
                start = embeds[rows, 0].to(token.dtype)
                token = start + self.strength * (token - start)
            if self.unpadded:  # all rows
                with_token = prepend_token(token, with_token, length=None)
            else:
                with_token[rows] = prepend_token(token, with_token[rows], length=with_token.shape[1])
        return PromptEmbeddings(with_token), unconditional

    def _unpadded_length(self, tokenizer, prompts: list[str], values: Sequence[tuple[str, ...]]) -> int:
        ids = tokenizer(prompts, truncation=True, max_length=tokenizer.model_max_length - 1).input_ids
        lengths = {len(row) for row in ids}
        if len(lengths) > 1 or len({len(own) for own in values}) > 1:
            raise UserError(
                "unpadded value tokens need prompts of one length in a batch, all with as many tokens: use batch_size 1"
            )
        return lengths.pop()

    def describe(self) -> dict:
        return {
            "method": "value_encoder",
            "weights": weights_hash({"value_encoder": self.encoder}),
            "value": self.value,
            "probability": self.probability,
            "unpadded": self.unpadded,
            "strength": self.strength,
            **self.warning,
        }


def is_drawn(seed: int, probability: float) -> bool:
    """Whether the picture of a seed is among the share that gets the token."""
    return torch.rand((), generator=per_sample_generator(seed, 0, 0, "value_token")).item() < probability


def load_value_encoder(path: str | Path) -> CLIPTextModel:
    """Open a value encoder, frozen, in float32.

    Args:
        path: a folder of `CLIPTextModel.save_pretrained`, a folder that holds one as `value_encoder/`, or a hub name.

    Raises:
        UserError: nothing of the kind there, or a run's record that is damaged.
    """
    folder = Path(path)
    inside = folder / "value_encoder"
    try:
        if folder.is_dir():
            encoder = CLIPTextModel.from_pretrained(inside if inside.is_dir() else folder, dtype=torch.float32)
        else:
            encoder = CLIPTextModel.from_pretrained(str(path), subfolder="value_encoder", dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path}: no value encoder can be loaded from here: {' '.join(str(error).split())}") from None
    if "base_hash" not in encoder.config.to_dict():  # saved by a former version
        own = inside if inside.is_dir() else folder.absolute()
        encoder.config.base_hash = base_of_run(own) if own.name == "value_encoder" else None
    return encoder.requires_grad_(False).eval()
