"""The sentence encoder: pooling as published, nearest example, margin; on a tiny random BERT."""

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

from diffusion_base.errors import UserError
from value_retriever.local_backend import LocalBackend, SentenceEncoder
from value_retriever.options import BackendOptions
from value_retriever.retriever import ValueRetriever
from value_retriever.rule import PersonWords
from value_retriever.values import Value, Values, load_values

GENDER = "gender equality"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    letters = [chr(c) for c in range(97, 123)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    BertTokenizerFast(
        vocab={token: i for i, token in enumerate(vocabulary)}, model_max_length=64
    ).save_pretrained(folder)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        BertModel(config).save_pretrained(folder)
    return folder


def backend(folder, **options):
    values = load_values()
    return LocalBackend(values, PersonWords(values), BackendOptions(local_model=str(folder), **options))


def test_the_mean_over_the_words_of_each_text(folder):
    """Against the definition, a text at a time: padding must not count."""
    encoder = SentenceEncoder(str(folder))
    texts = ["a cup", "a photograph of a very tall tree"]
    vectors = encoder.encode(texts)
    model = AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            mean = model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        torch.testing.assert_close(vector, mean / mean.norm(), rtol=1e-4, atol=1e-5)
    assert encoder.encode(["word " * 500]).shape == (1, 32)  # longer than the model reads


def test_an_example_is_nearest_to_itself(folder):
    values = load_values()
    ask = backend(folder, margin=0.0)
    heard = {}
    for value in values.harms:
        for answer in ask.ask(value.examples, lambda prompt, answer: heard.update({prompt: answer})):
            assert (answer.statement, answer.kind, answer.source) == (value.statement, "harm", "local")
            assert answer.confidence == pytest.approx(1, abs=1e-5)
        assert set(value.examples) <= heard.keys()
    (person,) = ask.ask(["an engineer at work"], lambda *_: None)
    assert (person.statement, person.person, person.reason) == (GENDER, True, 'like "an engineer at work"')
    (woman,) = ask.ask(["a woman reading a book"], lambda *_: None)
    assert woman.statements == ("racial equality",)  # a word of the prompt settles the gender
    (nothing,) = ask.ask(["the surface of Mars"], lambda *_: None)
    assert (nothing.statement, nothing.person) == (None, False)


def test_what_is_not_near_enough_goes_to_the_rule(folder):
    retriever = ValueRetriever(backend="local", local_model=str(folder), margin=2.0)
    answer = retriever.retrieve("a photo of a doctor")
    assert (answer.statement, answer.source, answer.failure) == (GENDER, "rule", "")
    assert "no example nearer than others by 2" in answer.reason
    assert retriever.describe()["model"] == str(folder)


def test_no_encoder_and_no_examples(folder, tmp_path):
    with pytest.raises(UserError, match="no sentence encoder can be loaded"):
        SentenceEncoder(str(tmp_path))
    values = Values(values=(Value(statement="x", kind="harm", examples=("a",)),))
    with pytest.raises(UserError, match="needs examples of two values"):
        LocalBackend(values, PersonWords(values), BackendOptions(local_model=str(folder)))
