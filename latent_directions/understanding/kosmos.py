"""Kosmos-2 (Peng et al. 2023): it captions a picture and says where each thing of the caption is."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoTokenizer, CLIPImageProcessorPil, Kosmos2ForConditionalGeneration, Kosmos2Processor
from transformers.models.kosmos2.processing_kosmos2 import clean_text_and_extract_entities_with_bboxes

from diffusion_base.errors import UserError
from diffusion_base.identity import model_version
from diffusion_base.weights.files import first_line
from latent_directions.understanding.entities import Entity, plain_name
from scorers.clip import chunks

PROMPT = "<grounding>An image of"


class Kosmos2:
    """A `Namer` by Kosmos-2.

    Args:
        model, processor: of transformers; the image processor of the PIL backend, as everywhere here.
        batch_size: pictures at a time.
        max_new_tokens: of a caption.
    """

    def __init__(
        self,
        model: Kosmos2ForConditionalGeneration,
        processor: Kosmos2Processor,
        name: str = "kosmos-2",
        batch_size: int = 8,
        max_new_tokens: int = 128,
    ):
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.name, self.batch_size, self.max_new_tokens = name, batch_size, max_new_tokens
        self.version = model_version(model, [PROMPT, str(max_new_tokens)])

    @classmethod
    def from_pretrained(cls, name_or_path: str, *, device: str = "cpu", batch_size: int = 8) -> "Kosmos2":
        """Load it from a folder or the hub.

        Raises:
            UserError: there is no such model, or it is another.
        """
        try:
            model, info = Kosmos2ForConditionalGeneration.from_pretrained(
                name_or_path, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(name_or_path)
            images = CLIPImageProcessorPil.from_pretrained(name_or_path)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"--model {name_or_path}: no Kosmos-2 is there ({first_line(error)})") from None
        if missing := sorted(info["missing_keys"]):
            raise UserError(f"--model {name_or_path}: no whole Kosmos-2 is there: {missing[0]} is missing")
        model.to(device)  # type: ignore[arg-type]  # transformers wraps it without its type
        return cls(model, Kosmos2Processor(images, tokenizer), Path(name_or_path).name, batch_size)

    def entities(self, images: Sequence[Image.Image]) -> list[list[Entity]]:
        """The things in each picture; see `Namer`."""
        texts = [text for batch in chunks(images, self.batch_size) for text in self.captions(batch)]
        return [entities_of(text) for text in texts]

    @torch.no_grad()
    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        """The grounded caption of each picture as the model writes it, its marks of phrases and places included."""
        inputs = self.processor(
            images=list(images),
            text=[PROMPT] * len(images),
            num_image_tokens=self.model.config.latent_query_num,
            return_tensors="pt",
        ).to(self.model.device)
        written = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        return self.processor.batch_decode(written, skip_special_tokens=True)


def entities_of(text: str) -> list[Entity]:
    """The things that a grounded caption names.

    "<phrase>a dog</phrase><object><patch_index_0000><patch_index_1023></object>" → dog, the whole picture.
    """
    _, found = clean_text_and_extract_entities_with_bboxes(text.split("</image>")[-1])
    return [
        Entity(plain_name(phrase), tuple(tuple(float(side) for side in box) for box in boxes))  # type: ignore[misc]
        for phrase, _, boxes in found
        if not phrase.startswith("<")  # a place that it gives no name
    ]
