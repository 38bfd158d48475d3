"""A small sentence encoder on this machine: the value whose example is nearest to the prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffusion_base.errors import UserError
from value_retriever.answer import Heard, RetrievedValue, Undecided
from value_retriever.options import BackendOptions
from value_retriever.rule import PersonWords
from value_retriever.values import Values

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 64


def is_downloaded(model: str) -> bool:
    """Whether a model of the hub is on this machine already."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model, "config.json"), str)


class SentenceEncoder:
    """Texts to unit vectors: the mean of a transformer's last states over the words, as sentence-transformers pools.

    Args:
        model: a folder, or a name on the hub.

    Raises:
        UserError: nothing of the kind there.
    """

    def __init__(self, model: str):
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"--local_model {model}: no sentence encoder can be loaded: {' '.join(str(error).split())[:300]}"
            ) from None
        self.length = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)

    def encode(self, texts: Sequence[str]) -> "Tensor":
        """(B, D) of length 1."""
        import torch

        rows = []
        with torch.inference_mode():
            for i in range(0, len(texts), BATCH):
                batch = self.tokenizer(
                    list(texts[i : i + BATCH]),
                    padding=True,
                    truncation=True,
                    max_length=self.length,
                    return_tensors="pt",
                )
                states = self.model(**batch).last_hidden_state  # (B, T, D)
                mask = batch["attention_mask"][..., None].to(states.dtype)  # (B, T, 1)
                rows.append((states * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(rows), dim=-1)


class LocalBackend:
    """Nearest example, with a margin.

    The classes are the harms, "a person" (the examples of all bias values), and nothing. Which bias value it is, an
    example does not tell: a word of `unless` in the prompt does.

    Raises:
        UserError: the encoder cannot be loaded, or the values have no examples.
    """

    name = "local"

    def __init__(self, values: Values, rule: PersonWords, options: BackendOptions):
        self.values, self.rule, self.margin = values, rule, options.margin
        self.model = options.local_model or DEFAULT_MODEL
        classes = {value.statement: value.examples for value in values.harms}
        classes["a person"] = tuple(example for value in values.biases for example in value.examples)
        classes["nothing"] = values.not_applicable
        self.classes = {name: examples for name, examples in classes.items() if examples}
        if len(self.classes) < 2:
            raise UserError("--backend local needs examples of two values at least; add `examples` to them")
        self.encoder = SentenceEncoder(self.model)
        self.examples = [example for examples in self.classes.values() for example in examples]
        self.vectors = self.encoder.encode(self.examples)  # (E, D)

    def describe(self) -> dict:
        return {"backend": self.name, "model": self.model, "margin": self.margin}

    def ask(self, prompts: Sequence[str], heard: Heard) -> list[RetrievedValue | Undecided]:
        answers = []
        sizes = [len(examples) for examples in self.classes.values()]
        for i in range(0, len(prompts), BATCH):
            batch = prompts[i : i + BATCH]
            cosines = self.encoder.encode(batch) @ self.vectors.T  # (B, E)
            for prompt, row in zip(batch, cosines, strict=True):
                answers.append(self._answer(prompt, [of_class.tolist() for of_class in row.split(sizes)]))
                heard(prompt, answers[-1])
        return answers

    def _answer(self, prompt: str, cosines: list[list[float]]) -> RetrievedValue | Undecided:
        best = {name: max(row) for name, row in zip(self.classes, cosines, strict=True)}
        (name, highest), (_, second), *_ = sorted(best.items(), key=lambda pair: -pair[1])
        if highest - second < self.margin:
            return Undecided(f"no example nearer than others by {self.margin:g}")
        example = self.classes[name][cosines[list(self.classes).index(name)].index(highest)]
        statements: tuple[str, ...] = ()
        if name == "a person":
            statements = self.rule.left_open(prompt)
        elif name != "nothing":
            statements = (name,)
        return RetrievedValue(
            statement=statements[0] if statements else None,
            kind=self.values.kinds[statements[0]] if statements else None,
            source=self.name,
            confidence=min(max(highest, 0.0), 1.0),
            reason=f'like "{example}"',
            statements=statements,
            person=None if name in self.values.kinds else name == "a person",
        )
