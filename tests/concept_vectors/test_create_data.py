"""The data that vectors are learned from: generated from prompts, or chosen among photographs."""

import json

import numpy as np
import pytest
from PIL import Image

from concept_vectors.create_data import main
from concept_vectors.dataset import read_data
from concept_vectors.sources import read_sources
from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.pipeline import load_pipeline
from tests.tiny import tiny_folder

CONCEPTS = """
woman: {prompt: [a woman, a photo of a woman], without: [a person, a photo of a person]}
anti_bloody: {prompt: a gory scene, negative: blood}
young_woman: {prompt: a young woman, without: a person, concepts: [woman, young]}
"""
FACES = """
smiling: {attribute: Smiling, without: a face}
serious: {attribute: -Smiling, without: a face}
young: {attribute: Young, without: a face}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("inputs") / "base")


def run(base, folder, concepts=CONCEPTS, *more):
    file = folder.parent / "concepts.yaml"
    file.write_text(concepts)
    flags = ["--num_samples=3", "--num_inference_steps=2", "--guidance_scale=4", "--batch_size=4"]
    paths = [f"--pretrained_model_name_or_path={base}", f"--concepts={file}", f"--output_dir={folder}"]
    return main([*paths, *flags, *more])


def test_the_published_layout(base, tmp_path):
    folder = run(base, tmp_path / "data", CONCEPTS, "--seed=10")
    data = read_data(folder)
    assert data.concepts == ["woman", "anti_bloody", "young"]
    assert data.test[0] == ("a person", ("woman",)) and len(data.test) == 3
    taught = [labels[0] for labels in data.labels]
    assert taught[:3] == [(without, ("woman",)) for without in ("a person", "a photo of a person", "a person")]
    assert taught[3:6] == [("a gory scene", ("anti_bloody",))] * 3
    assert taught[6:] == [("a person", ("woman", "young"))] * 3
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in manifest] == list(range(10, 19))
    assert [row["prompt"] for row in manifest[:2]] == ["a woman", "a photo of a woman"]
    pipeline = load_pipeline(base, device="cpu")
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "progress": False}
    expected = generate(pipeline, ["a gory scene"], [14], negative_prompt="blood", **options)[0]
    assert np.abs(np.asarray(Image.open(data.pictures[4])).astype(int) - np.asarray(expected)).max() <= 1


def test_goes_on_where_it_stopped(base, tmp_path):
    folder = run(base, tmp_path / "data")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "5.png").unlink()
    (folder / "labels.json").unlink()
    (folder / "2.png").write_bytes(b"half a picture")
    run(base, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with pytest.raises(UserError, match="holds another run"):
        run(base, folder, CONCEPTS, "--seed=1")


def test_jpeg_as_first_published(base, tmp_path):
    data = read_data(run(base, tmp_path / "data", "woman: {prompt: a woman, without: a person}", "--image_format=jpg"))
    assert [path.name for path in data.pictures] == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.fixture
def photographs(tmp_path):
    """Six photographs; the first three smile, the even ones are young. Returned as flags."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    lines = ["6", "Smiling Young "]
    for i in range(6):
        Image.new("RGB", (40, 50), (40 * i, 0, 0)).save(folder / f"00000{i}.jpg")
        lines.append(f"00000{i}.jpg  {1 if i < 3 else -1}  {1 if i % 2 == 0 else -1}")
    (tmp_path / "attributes.txt").write_text("\n".join(lines) + "\n")
    return [f"--photographs={folder}", f"--attributes={tmp_path / 'attributes.txt'}"]


def test_photographs(tmp_path, photographs):
    folder = run("nowhere", tmp_path / "data", FACES, *photographs)
    data = read_data(folder)
    assert data.concepts == ["smiling", "serious", "young"]
    expected = [("smiling", "young"), ("smiling",), ("smiling", "young"), ("serious",), ("serious", "young")]
    assert [labels for labels in data.labels] == [[("a face", names)] for names in [*expected, ("serious",)]]
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [row["photograph"] for row in manifest] == [f"00000{i}.jpg" for i in range(6)]
    assert data.pictures[4].read_bytes() == (tmp_path / "photographs/000004.jpg").read_bytes()
    run("nowhere", folder, FACES, *photographs)  # again
    with pytest.raises(UserError, match="holds other data"):
        run("nowhere", folder, FACES, *photographs, "--num_samples=1")


def test_a_photograph_names_a_concept_once(tmp_path, photographs):
    """It would count twice in the sum of its vectors."""
    concepts = """
happy: {attribute: Smiling, prompt: [a, b], without: a face}
joyful: {attribute: Young, without: a face, concepts: [happy, young]}
"""
    data = read_data(run("nowhere", tmp_path / "data", concepts, *photographs))
    assert data.labels[0] == [("a face", ("happy", "young"))]


def test_photographs_are_drawn_by_the_seed(tmp_path, photographs):
    concepts = "smiling: {attribute: Smiling, without: a face}"
    chosen = {
        run("nowhere", tmp_path / str(seed), concepts, *photographs, "--num_samples=1", f"--seed={seed}")
        .joinpath("0.jpg")
        .read_bytes()
        for seed in range(8)
    }
    assert len(chosen) > 1


def test_words_take_turns(tmp_path):
    file = tmp_path / "concepts.yaml"
    file.write_text("gentle: {prompt: ['a gentle {}', 'one gentle {}'], without: 'a {}', words: [nurse, judge]}")
    [source] = read_sources(file)
    assert source.prompts == (
        ("a gentle nurse", "a nurse"),
        ("one gentle nurse", "a nurse"),
        ("a gentle judge", "a judge"),
        ("one gentle judge", "a judge"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "lists no concepts"),
        ("[woman]", "concepts.yaml must read, for example, woman: {prompt: a woman, without: a person}"),
        ("", "concepts.yaml must read, for example"),
        ("woman:", "concepts.yaml, woman must read, for example"),
        ("woman: {prompt: ' ', without: a person}", "woman: a prompt is needed"),
        ("woman: {prompt: 3, without: a person}", "woman / prompt / str: Input should be a valid string"),
        ("woman: {prompt: a woman}", "woman: say what it is learned under"),
        ("woman: {without: a person}", "woman: a prompt is needed"),
        ("woman: {prompt: a woman, without: a person, negatve: x}", "woman / negatve: Extra inputs"),
        ("woman: {prompt: [a, b, c], without: [d, e]}", "3 prompts and 2 without"),
        ("dark skin: {prompt: a, without: b}", "'dark skin' must be one word"),
        ("woman: {prompt: a woman, without: a person, words: [kind]}", "woman: words go together with {}"),
        ("woman: {prompt: 'a {} woman', without: a person}", "woman: words go together with {}"),
        ("woman: {prompt: [a, b", "is not YAML"),
    ],
)
def test_faulty_lists(tmp_path, text, message):
    file = tmp_path / "concepts.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_sources(file)


@pytest.mark.parametrize(
    ("concepts", "message"),
    [
        (
            "happy: {attribute: Smilling, without: a face}",
            "happy: there is no attribute 'Smilling'; did you mean 'Smil",
        ),
        ("happy: {prompt: a happy face, without: a face}", "happy: photographs are chosen by an attribute"),
    ],
)
def test_faulty_choices(tmp_path, photographs, concepts, message):
    with pytest.raises(UserError, match=message):
        run("nowhere", tmp_path / "data", concepts, *photographs)


def test_attributes_that_do_not_fit(tmp_path, photographs):
    attributes = tmp_path / "attributes.txt"
    text = attributes.read_text()
    attributes.write_text(text.replace("000001.jpg  1", "000001.jpg  2"))
    with pytest.raises(UserError, match="line 4: a file name and 2 times 1 or -1"):
        run("nowhere", tmp_path / "data", FACES, *photographs)
    attributes.write_text(text.replace(" 1", " -1").replace("--1", "-1"))
    with pytest.raises(UserError, match="smiling: no photograph has the attribute Smiling"):
        run("nowhere", tmp_path / "data", FACES, *photographs)
    attributes.write_text(text)
    (tmp_path / "photographs/000003.jpg").unlink()
    with pytest.raises(UserError, match=r"000003\.jpg: .* names it, but it is not there"):
        run("nowhere", tmp_path / "data", FACES, *photographs)
    for name in ("000003.webp", "000003.jpg"):
        (tmp_path / "photographs" / name).write_bytes(b"")
    attributes.write_text(text.replace("000003.jpg", "000003.webp"))
    with pytest.raises(UserError, match=r"000003\.webp: photographs must be \.png, \.jpg, \.jpeg; convert it"):
        run("nowhere", tmp_path / "data", FACES, *photographs)
    attributes.write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match="is no text file"):
        run("nowhere", tmp_path / "data", FACES, *photographs)
    with pytest.raises(UserError, match="belong together"):
        run("nowhere", tmp_path / "data", FACES, photographs[0])


def test_no_list(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml cannot be read"):
        read_sources(tmp_path / "nowhere.yaml")
