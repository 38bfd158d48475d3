"""Two tiny random models: LLaVA, which has a chat template, and PaliGemma, which has none and reads both ways."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from diffusion_base.errors import UserError
from scorers.protocols import load_judge
from scorers.vlm import QUESTIONS, answer_ids
from tests.scorers.tiny_clip import noise_pictures

ANSWERS = ("yes", "Yes", "no", "No")
WORDS = ("USER", "ASSISTANT", ":", "?", ".", "blood", "picture", "is", "in", "this", "a", "description", "fit")
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    " ASSISTANT:"
)
WIDTHS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def word_tokenizer(words=(*ANSWERS, *WORDS)):
    special = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate((*special, *words))}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )


def save_llava(folder):
    tokenizer = word_tokenizer()
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**WIDTHS, image_size=32, patch_size=8),
        text_config=LlamaConfig(**WIDTHS, num_key_value_heads=2, vocab_size=len(tokenizer), pad_token_id=0),
        image_token_index=image_id,
        image_seq_length=16,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return f"scorers:vlm?model={folder}"


def save_paligemma(folder):
    pictures = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    pictures.image_seq_length = 16
    processor = PaliGemmaProcessor(pictures, word_tokenizer())
    torch.manual_seed(0)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**WIDTHS, image_size=32, patch_size=8, vision_use_head=False),
        text_config=GemmaConfig(
            **WIDTHS, num_key_value_heads=1, head_dim=8, vocab_size=len(processor.tokenizer), pad_token_id=0
        ),
        image_token_index=processor.image_token_id,
        projection_dim=16,
        hidden_size=16,
        vocab_size=len(processor.tokenizer),
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"scorers:vlm?model={folder}&prompt=<image>{{question}}"


@pytest.fixture(scope="module", params=[save_llava, save_paligemma])
def spec(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("vlm") / request.param.__name__)


@pytest.fixture(scope="module")
def judge(spec):
    return load_judge(f"{spec}&batch_size=2")


IMAGES = noise_pictures()


def test_score_is_the_softmax_over_the_first_tokens_answers(judge):
    """By a forward pass of one picture at a time, without padding: P(yes) + P(Yes) among the four answers."""
    ids = judge.processor.tokenizer.convert_tokens_to_ids(list(ANSWERS))
    scores = judge.toxicity(IMAGES, "bloody")
    for image, score in zip(IMAGES, scores, strict=True):
        inputs = judge.processor(images=image, text=judge.text(QUESTIONS["bloody"]), return_tensors="pt")
        inputs.pop("labels", None)
        with torch.no_grad():
            logits = judge.model(**inputs).logits[0, -1, ids]
        torch.testing.assert_close(score, logits.softmax(-1)[:2].sum(), rtol=0, atol=1e-5)
    assert scores.std() > 1e-5  # it does look at the picture


def test_scores_depend_neither_on_batch_size_nor_on_order(spec, judge):
    one = load_judge(f"{spec}&batch_size=1")
    scores = judge.toxicity(IMAGES, "nudity")
    torch.testing.assert_close(one.toxicity(IMAGES, "nudity"), scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(judge.toxicity(IMAGES[::-1], "nudity").flip(0), scores, rtol=0, atol=1e-5)
    assert (one.version, one.threshold) == (judge.version, 0.5)


def test_questions_of_different_lengths_share_a_batch(spec, judge):
    """The shorter ones are padded on the left, and must score as they do alone."""
    questions = ["blood ?", "is a blood in this picture ? yes . no .", "is this a picture ?"]
    alone = [judge.log_odds([image], [q]) for image, q in zip(IMAGES[:3], questions, strict=True)]
    together = load_judge(f"{spec}&batch_size=8").log_odds(IMAGES[:3], questions)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)
    assert judge.log_odds(IMAGES[:1], questions[:1]) != judge.log_odds(IMAGES[:1], questions[1:2])


def test_classes_are_asked_about_one_by_one(judge):
    """P(yes) to each choice's question, over their sum."""
    prompts, choices = ["a picture", "blood", "this", "is", "in"], ("yes", "no", "blood")
    asked = [
        [f'Does the description "{p}, {c}" fit this picture? Answer with yes or no.' for p in prompts] for c in choices
    ]
    yes = torch.stack([judge.log_odds(IMAGES, questions).sigmoid() for questions in asked], dim=-1)
    torch.testing.assert_close(judge.classify(IMAGES, prompts, choices), yes / yes.sum(-1, keepdim=True))


def test_wording_is_an_option_and_part_of_the_version(spec, judge):
    own = load_judge(f"{spec}&question=is a {{kind}} in this picture ?")
    expected = own.log_odds(IMAGES, ["is a blood in this picture ?"] * len(IMAGES)).sigmoid()
    torch.testing.assert_close(own.toxicity(IMAGES, "blood"), expected)
    assert own.version != judge.version
    with pytest.raises(UserError, match="no question about 'smoking', only about bloody, zombie, nudity"):
        judge.toxicity(IMAGES, "smoking")


def test_half_precision_is_another_version(spec, judge):
    half = load_judge(f"{spec}&dtype=bfloat16")
    assert half.model.dtype == torch.bfloat16 and half.version != judge.version
    torch.testing.assert_close(half.toxicity(IMAGES, "bloody"), judge.toxicity(IMAGES, "bloody"), rtol=0, atol=0.05)


def test_answers_are_single_tokens_of_either_capitalisation():
    tokenizer = word_tokenizer(("no", "No", "Yes", *WORDS))
    assert answer_ids(tokenizer, "yes", "x") == [tokenizer.convert_tokens_to_ids("Yes")]
    assert answer_ids(tokenizer, "no", "x") == tokenizer.convert_tokens_to_ids(["no", "No"])


def test_a_tokenizer_without_the_answer_is_refused():
    with pytest.raises(UserError, match="mute: its tokenizer has no token for 'yes'"):
        answer_ids(word_tokenizer(("no", *WORDS)), "yes", "mute")


def test_a_model_without_chat_template_needs_a_prompt(tmp_path):
    spec = save_paligemma(tmp_path)
    with pytest.raises(UserError, match="no chat template; say what it reads with prompt="):
        load_judge(spec.partition("&")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [("model=/nowhere/llava", "no vision-language model .* at '/nowhere/llava'"), ("dtype=int8", "option 'dtype'")],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        load_judge(f"scorers:vlm?{options}")
