"""Kosmos-2: what it writes, read; a tiny random one; counts and boxes; and a judge's words in its place."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    XLMRobertaTokenizer,
)

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from latent_directions.understanding.entities import Entity, WordsOfAJudge, plain_name
from latent_directions.understanding.groups import Group
from latent_directions.understanding.kosmos import Kosmos2, entities_of
from latent_directions.understanding.objects import counted, main, with_boxes
from tests.latent_directions.understanding.judges import JUDGE, Brightness, write_pictures
from tests.scorers.tiny_clip import noise_pictures

# as microsoft/kosmos-2-patch14-224 writes, from its model card
SNOWMAN = (
    "<image>. the, to and of as in</image><grounding> An image of<phrase> a snowman</phrase><object>"
    "<patch_index_0044><patch_index_0863></object> warming himself by<phrase> a fire</phrase><object>"
    "<patch_index_0005><patch_index_0911></object>."
)


def test_what_kosmos_writes():
    """Patch 44 is row 1, column 12 of 32, and boxes go from middle to middle: left (12 + ½)/32."""
    snowman, fire = entities_of(SNOWMAN)
    assert snowman == Entity("snowman", ((12.5 / 32, 1.5 / 32, 31.5 / 32, 26.5 / 32),))
    assert fire == Entity("fire", ((5.5 / 32, 0.5 / 32, 15.5 / 32, 28.5 / 32),))


def test_several_boxes_of_one_name_and_places_without_a_name():
    dogs = "<phrase> Two  dogs</phrase><object><patch_index_0000><patch_index_0033></delimiter_of_multi_objects/>"
    dogs += "<patch_index_0990><patch_index_1023></object> in<object><patch_index_0000><patch_index_1023></object>"
    (found,) = entities_of(f"<grounding> {dogs}")
    assert found.name == "two dogs" and len(found.boxes) == 2
    assert found.boxes[0] == (0.5 / 32, 0.5 / 32, 1.5 / 32, 1.5 / 32)
    assert entities_of("<grounding> An image of nothing in particular") == []
    assert [plain_name(of) for of in ("A Snowman", "the an", "ant", "his hat")] == ["snowman", "an", "ant", "hat"]


def tiny_kosmos_folder(folder):
    special = [(word, 0.0) for word in ("<s>", "<pad>", "</s>", "<unk>")]
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyzA"]
    images = [(f"<image_{i}>", -20.0) for i in range(4)]  # the ids that stand for a picture follow <unk>
    tokenizer = XLMRobertaTokenizer(vocab=[*special, *images, *letters, ("<mask>", 0.0)])
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    Kosmos2Processor(pictures, tokenizer)  # it adds the marks to the tokenizer
    text = {"vocab_size": len(tokenizer), "embed_dim": 16, "layers": 2, "ffn_dim": 32, "attention_heads": 2}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Kosmos2Config(
        text_config={**text, "max_position_embeddings": 256},
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        latent_query_num=4,
    )
    torch.manual_seed(0)
    Kosmos2ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pictures.save_pretrained(folder)
    return folder


def test_a_tiny_random_kosmos(tmp_path):
    kosmos = Kosmos2.from_pretrained(str(tiny_kosmos_folder(tmp_path / "kosmos")), batch_size=2)
    kosmos.max_new_tokens = 8
    images = noise_pictures(3)
    texts = kosmos.captions(images)
    assert len(texts) == 3 and all("<grounding>" in text and "</image>" in text for text in texts)
    assert [kosmos.captions([image])[0] for image in images] == texts  # whatever stands beside it
    assert [len(own) for own in kosmos.entities(images)] == [len(entities_of(text)) for text in texts]
    assert kosmos.name == "kosmos" and len(kosmos.version) == 16


def test_no_kosmos(tmp_path):
    write_pictures(tmp_path / "some", [0])
    (tmp_path / "model").mkdir()
    words = ["--pictures", str(tmp_path / "some"), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(UserError, match="--model .*: no Kosmos-2 is there"):
        main([*words, "--model", str(tmp_path / "model")])
    with pytest.raises(UserError, match="--judge and --vocabulary belong together"):
        main([*words, "--judge", JUDGE])
    with pytest.raises(UserError, match="there is no such folder"):
        main(["--pictures", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "out")])


def test_counts():
    dog, hat = Entity("dog", ((0, 0, 1, 1), (0, 0, 0.5, 0.5))), Entity("hat")
    lines = counted("pictures", [[dog, hat], [dog], [], [Entity("dog"), hat]])
    assert [(line.name, line.count, line.n, line.mentions) for line in lines] == [("dog", 3, 4, 5), ("hat", 2, 4, 2)]
    assert lines[0].share == 0.75 and lines[0].low < 0.75 < lines[0].high


def test_boxes_are_drawn_where_they_are():
    """On grey, enlarged to 512: the frame of the left half is coloured, the middle of the right half is not."""
    drawn = with_boxes(Image.new("RGB", (64, 64), "grey"), [Entity("left half", ((0, 0, 0.5, 1),)), Entity("nowhere")])
    pixels = np.asarray(drawn)
    assert drawn.size == (512, 512)
    assert (pixels[300, 0] == (0, 114, 178)).all() and (pixels[300, 255] == (0, 114, 178)).all()
    assert (pixels[300, 384] == 128).all()


def test_names_on_one_corner_lie_below_one_another():
    same = [Entity(name, ((0.2, 0.2, 0.8, 0.8),)) for name in ("dog", "animal", "pet")]
    pixels = np.asarray(with_boxes(Image.new("RGB", (512, 512), "grey"), same))
    column = pixels[:, int(0.2 * 512) + 3]
    assert all((column == colour).all(-1).sum() > 10 for colour in ((0, 114, 178), (213, 94, 0), (0, 158, 115)))


def test_the_words_of_a_judge(tmp_path):
    """Bright pictures wear glasses; "no glasses" is no thing."""
    groups = [Group("glasses", ("no glasses", "glasses")), Group("subject", ("cat", "dog"))]
    images = [Image.new("RGB", (8, 8), colour) for colour in ("black", "white")]
    found = WordsOfAJudge(Brightness(), groups).entities(images)
    assert found == [[Entity("cat")], [Entity("glasses"), Entity("dog")]]

    for name, greys in (("one", [0, 255, 255]), ("two", [0, 0])):
        write_pictures(tmp_path / name, greys)
    (tmp_path / "words.yaml").write_text("glasses: {choices: [no glasses, glasses]}\nsubject: {choices: [cat, dog]}\n")
    words = ["--judge", JUDGE, "--vocabulary", str(tmp_path / "words.yaml"), "--output_dir", str(tmp_path / "out")]
    out = main([*words, "--pictures", str(tmp_path / "one"), str(tmp_path / "two"), "--names", "one", "two"])
    rows = json.loads((out / "objects.json").read_text())
    found = {(row["pictures"], row["name"]): row["count"] for row in rows}
    assert found == {("one", "dog"): 2, ("one", "glasses"): 2, ("one", "cat"): 1, ("two", "cat"): 2}
    assert (out / "histogram.png").is_file() and not (out / "boxes").exists()
    assert len(read_jsonl(out / "entities.jsonl")) == 5


def test_boxes_are_kept_as_pictures(tmp_path, monkeypatch):
    class Whole:
        name, version = "whole", "1"

        def entities(self, images):
            return [[Entity("picture", ((0, 0, 1, 1),))] for _ in images]

    monkeypatch.setattr("latent_directions.understanding.objects.load_namer", lambda arguments: Whole())
    pictures = write_pictures(tmp_path / "some", [0, 128, 255])
    out = main(["--pictures", str(pictures), "--output_dir", str(tmp_path / "out"), "--drawn", "2"])
    assert sorted(file.name for file in (out / "boxes").iterdir()) == ["0_0000.png", "0_0001.png"]
