"""What is kept of which pictures, over kills and processes; what the list of classes may say."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import load_pipeline
from latent_directions import collect
from latent_directions.classes import prompt_classes, read_classes
from latent_directions.collect import disk_needed, in_words, main
from latent_directions.dataset import NOISE, read_collection
from tests.tiny import tiny_folder

PROMPTS = ["--prompts", "male=a photo of a man", "female=a photo of a woman"]
FLAGS = ["--num_samples=5", "--num_inference_steps=3", "--guidance_scale=4", "--batch_size=4", "--steps", "0", "2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("base") / "base")


def run(base, folder, *more):
    return main([f"--pretrained_model_name_or_path={base}", f"--output_dir={folder}", *PROMPTS, *FLAGS, *more])


class AtSteps(Intervention):
    """Writes down the noise and the latents that each step leaves."""

    def __init__(self):
        self.latents = {}

    def describe(self):
        return {}

    def edit_latents(self, context, latents):
        self.latents[NOISE] = latents
        return latents

    def end_of_step(self, context, latents):
        self.latents[context.step] = latents
        return latents


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_latents_are_those_of_the_pictures(kind, tmp_path):
    """Of picture 1 of either class, made again by `generate`: its noise and what steps 0 and 2 leave, divided by the
    VAE's own scale, in half precision; and the picture is the one that `generate` makes."""
    base = tiny_folder(tmp_path / "base", kind)
    folder = run(base, tmp_path / "data", "--keep_noise", "--seed=7", "--num_samples=4", "--batch_size=4")
    data, pipeline = read_collection([folder]), load_pipeline(base, device="cpu")
    assert data.steps == (NOISE, 0, 2) and data.classes == ["male", "female"] and data.num_inference_steps == 3
    assert data.seeds == [7, 8, 9, 10] * 2 and data.shape == (4, 8, 8)
    for name, prompt in (("male", "a photo of a man"), ("female", "a photo of a woman")):
        kept = AtSteps()
        options = {"num_inference_steps": 3, "guidance_scale": 4.0, "progress": False, "batch_size": 4}
        images = generate(pipeline, [prompt] * 4, [7, 8, 9, 10], [kept], **options)
        made = np.stack([Image.open(folder / "images" / f"{name}_{i}.png") for i in range(4)])
        assert np.array_equal(made, np.stack(images))
        rows = [i for i, label in enumerate(data.labels) if label == name]
        for step in data.steps:
            expected = (kept.latents[step] / pipeline.vae.config.scaling_factor).half().flatten(1)
            assert torch.equal(data.latents(step)[rows], expected)


def contents(folder):
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".png", ".safetensors", ".jsonl")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_killed_and_continued(base, tmp_path, monkeypatch, capsys):
    """Killed while the second shard is written, and between the third and its pictures: the same files in the end."""
    whole = contents(run(base, tmp_path / "whole"))
    assert len([name for name in whole if "latents" in name]) == 3 and len(whole) == 3 + 10 + 1
    written, save = [], collect.save_file

    class Killed(BaseException):
        pass

    def stop(tensors, file, metadata):
        written.append(file)
        if len(written) == 2:
            file.write_bytes(b"half")
            raise Killed
        save(tensors, file, metadata=metadata)

    folder = tmp_path / "data"
    monkeypatch.setattr(collect, "save_file", stop)
    with pytest.raises(Killed):
        run(base, folder)
    assert not (folder / "manifest.jsonl").exists()
    run(base, folder)
    assert contents(folder) == whole
    (folder / "images" / "female_4.png").unlink()  # as if killed after its shard
    run(base, folder)
    assert contents(folder) == whole
    shard = folder / "latents" / "male_4.safetensors"
    shard.write_bytes(b"half")  # its pictures are there
    run(base, folder)
    assert contents(folder) == whole
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    run(base, folder)
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    with pytest.raises(UserError, match="holds another run, which differs in interventions"):
        run(base, folder, "--keep_noise")


def test_another_batch_size_goes_on(base, tmp_path):
    """Shards may then overlap; every picture has its latents all the same, up to rounding."""
    folder = run(base, tmp_path / "data")
    first = read_collection([folder]).latents(2)
    shutil.rmtree(folder / "latents")
    run(base, folder, "--batch_size=3")
    torch.testing.assert_close(read_collection([folder]).latents(2), first, rtol=0, atol=0.02)


def test_bf16(base, tmp_path):
    """Whose autocast reaches the latents, which stay what they are: near those in full precision, in half precision."""
    exact, rounded = (
        read_collection([run(base, tmp_path / kind, f"--mixed_precision={kind}")]).latents(2) for kind in ("no", "bf16")
    )
    assert rounded.dtype == torch.float16 and not torch.equal(rounded, exact)
    assert (rounded - exact).float().norm() / exact.float().norm() < 0.1


def test_the_disk_that_it_takes(base, tmp_path, capsys):
    """50 pictures × 10 steps × 4×128×128 numbers of two bytes; 1,000 × 10."""
    assert in_words(disk_needed(50, 10, (4, 128, 128))) == "66 MB"
    assert in_words(disk_needed(1000, 10, (4, 128, 128))) == "1.3 GB"
    folder = run(base, tmp_path / "data")
    printed = capsys.readouterr().out
    assert "10 pictures × 2 steps × 4×8×8: 10 kB of latents" in printed and "are free" in printed
    numbers = 0
    for file in (folder / "latents").iterdir():
        with safe_open(file, framework="pt") as shard:
            numbers += sum(shard.get_tensor(name).nbytes for name in shard.keys())  # noqa: SIM118
    assert numbers == disk_needed(10, 2, (4, 8, 8)) == 10240


def test_two_processes_share_the_work(base, tmp_path, monkeypatch):
    """Each writes the shards of its own chunks: together those of one process."""
    whole = contents(run(base, tmp_path / "whole"))

    class State:
        num_processes, device = 2, torch.device("cpu")

        def __init__(self, index):
            self.process_index, self.is_main_process = index, index == 0

        def wait_for_everyone(self):
            pass

    monkeypatch.setattr(collect, "shard_contents", lambda _: dict.fromkeys(name_of(whole)))  # each sees its own disk
    shards, found = [], {}
    for index in (0, 1):
        monkeypatch.setattr(collect, "process_state", lambda index=index: State(index))
        own = contents(run(base, tmp_path / str(index)))
        shards.append([name for name in own if "latents" in name])
        assert not own.keys() & found.keys()
        found |= own
    assert shards == [["latents/female_3.safetensors", "latents/male_0.safetensors"], ["latents/male_4.safetensors"]]
    assert found == whole


def name_of(files):
    return [name.split("/")[1].removesuffix(".png") for name in files if name.endswith(".png")]


def test_steps_by_default():
    """Ten, evenly spaced from 0 on, as published: 0, 5, …, 45 of 50."""
    arguments = {"output_dir": "x", "prompts": ("a=b",)}
    assert collect.Arguments(**arguments).kept == list(range(0, 50, 5))
    assert collect.Arguments(**arguments, keep_noise=True, steps=(7, 3, 3)).kept == [NOISE, 3, 7]


GRID = """
classes: {male: a male, female: [a female, a young female]}
templates: ["a photo of {class} {subject}", "{class} {subject}"]
subjects: [pilot, nurse]
"""


def test_a_grid_of_classes(tmp_path):
    (tmp_path / "classes.yaml").write_text(GRID)
    male, female = read_classes(tmp_path / "classes.yaml")
    assert (male.name, male.prompts[:3]) == (
        "male",
        (("a photo of a male pilot", "pilot"), ("a photo of a male nurse", "nurse"), ("a male pilot", "pilot")),
    )
    assert len(female.prompts) == 8 and female.prompts[1] == ("a photo of a young female pilot", "pilot")
    records = collect.make_records([male, female], 5, 10, "png")
    assert [record["seed"] for record in records] == [10, 11, 12, 13, 14] * 2
    assert records[4]["prompt"] == records[0]["prompt"]  # four prompts take turns
    assert json.dumps(records[0]) == (
        '{"file": "male_0.png", "prompt": "a photo of a male pilot", "seed": 10, "class": "male", "subject": "pilot"}'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not YAML"),
        ("[]", "for example classes:"),
        ("classes: {}", "there are no classes"),
        ("classes: {a: x}\nprompts: [y]", "prompts: Extra inputs are not permitted"),
        ("classes: {a b: x}", "the class 'a b' must be one word"),
        ("classes: {a: ''}", "the class 'a' has an empty prompt"),
        ("classes: {a: x}\ntemplates: [a photo]", "the template 'a photo' must hold {class}"),
        ("classes: {a: x}\ntemplates: ['{class} {subject}']", "needs subjects for {subject}"),
        ("classes: {a: x}\nsubjects: [pilot]", "the template '{class}' must hold {subject}"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_classes(tmp_path / "classes.yaml")


def test_bad_flags(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_classes(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match="a class and its prompt are expected"):
        prompt_classes(["a photo of a man"])
    for flags, message in (
        ([], "give either --prompts"),
        ([*PROMPTS, "--classes=x.yaml"], "give either --prompts"),
        ([*PROMPTS, "--steps", "3", "--num_inference_steps=3"], "--steps 3: there is no such step; the last is 2"),
    ):
        with pytest.raises(UserError, match=message):
            main([f"--output_dir={tmp_path}", *flags])
