"""A set on disk: resumed, repaired, refused, killed in the middle, made by two processes."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.generation import generate, generate_set
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import load_pipeline
from diffusion_base.processes import process_state
from tests.forked import in_process, in_two_processes
from tests.tiny import tiny_folder, tiny_pipeline

RECORDS = [
    {"file": f"{prompt}_{i}.png", "prompt": prompt, "seed": 42 + i, "value": None}
    for prompt in ("a nurse", "a cat")
    for i in range(5)
]
QUICK = {"num_inference_steps": 2, "guidance_scale": 4.0, "batch_size": 3, "progress": False}


class Shift(Intervention):
    def __init__(self, strength=1.0):
        self.strength = strength

    def edit_latents(self, context, latents):
        return latents + self.strength

    def describe(self):
        return {"method": "shift", "strength": self.strength}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def count_calls(pipeline):
    calls = []
    pipeline.vae.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_set_holds_the_pictures_a_manifest_and_what_made_them(tmp_path):
    pipeline = tiny_pipeline()
    folder = generate_set(pipeline, RECORDS, tmp_path / "set", [Shift(0.5)], name="shifted", **QUICK)
    assert {path.name for path in folder.iterdir()} == {"images", "manifest.jsonl", "run.json"}
    assert set(contents(folder)) == {record["file"] for record in RECORDS}
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert lines == [{**record, "interventions": [{"method": "shift", "strength": 0.5}]} for record in RECORDS]
    run = json.loads((folder / "run.json").read_text())
    assert run["name"] == "shifted" and run["images"] == 10 and "torch" in run["versions"]
    assert run["identity"]["num_inference_steps"] == 2 and len(run["identity"]["base"]) == 16
    prompts, seeds = [record["prompt"] for record in RECORDS], [record["seed"] for record in RECORDS]
    for record, image in zip(RECORDS, generate(pipeline, prompts, seeds, [Shift(0.5)], **QUICK), strict=True):
        with Image.open(folder / "images" / record["file"]) as saved:
            assert saved.tobytes() == image.tobytes()


def test_good_pictures_are_kept_and_broken_ones_made_again(tmp_path):
    pipeline = tiny_pipeline()
    folder = generate_set(pipeline, RECORDS, tmp_path, **QUICK)
    whole = contents(folder)
    names = [folder / "images" / record["file"] for record in RECORDS]
    names[0].unlink()
    names[1].write_bytes(whole[names[1].name][:500])
    names[7].write_text("no picture")
    kept = names[2].stat().st_mtime_ns
    calls = count_calls(pipeline)
    generate_set(pipeline, RECORDS, tmp_path, **QUICK)
    assert contents(folder) == whole and names[2].stat().st_mtime_ns == kept
    assert len(calls) == 2  # the chunks 0–2 and 6–8
    generate_set(pipeline, RECORDS, tmp_path, **QUICK)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_inference_steps": 3}, "num_inference_steps"),
        ({"guidance_scale": 3.0}, "guidance_scale"),
        ({"negative_prompt": "weird"}, "negative_prompt"),
        ({"interventions": [Shift()]}, "interventions"),
        ({"records": RECORDS[:-1]}, "records"),
        ({"pipeline": tiny_pipeline(seed=1)}, "base"),
    ],
)
def test_folder_of_another_run_is_refused(tmp_path, change, named):
    call = {"pipeline": tiny_pipeline(), "records": RECORDS, "output_dir": tmp_path, **QUICK}
    generate_set(**call)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"holds another run, which differs in {named}; choose another output folder"):
        generate_set(**call | change)
    assert contents(tmp_path) == before
    generate_set(**call | {"batch_size": 4})  # equal up to rounding: the same run


def test_folder_of_another_run_without_pictures_is_taken_over(tmp_path):
    """A strength that makes no picture is refused after run.json is written, and lowered."""

    class Overflows(Shift):
        def edit_latents(self, context, latents):
            return latents * 1e30**self.strength

    pipeline = tiny_pipeline()
    with pytest.raises(UserError, match="numbers too large to be a picture: lower"):
        generate_set(pipeline, RECORDS, tmp_path, [Overflows(1.0)], **QUICK)
    assert (tmp_path / "run.json").is_file()
    generate_set(pipeline, RECORDS, tmp_path, [Shift(0.5)], **QUICK)
    assert json.loads((tmp_path / "run.json").read_text())["identity"]["interventions"][0]["strength"] == 0.5
    assert contents(tmp_path) == contents(generate_set(pipeline, RECORDS, tmp_path / "new", [Shift(0.5)], **QUICK))


def test_a_finished_twin_lends_its_pictures(tmp_path):
    """Picture by picture where it has them; another run's, or an unfinished one's, are not taken."""
    pipeline = tiny_pipeline()
    twin = generate_set(pipeline, RECORDS, tmp_path / "twin", about={"method": "base"}, **QUICK)
    assert json.loads((twin / "run.json").read_text())["method"] == "base"
    whole = contents(twin)
    (twin / "images" / RECORDS[1]["file"]).unlink()
    (twin / "images" / RECORDS[8]["file"]).write_bytes(b"damaged")
    (tmp_path / "twin" / "images" / RECORDS[0]["file"]).write_bytes(whole[RECORDS[2]["file"]])  # a mark
    calls = count_calls(pipeline)
    copy = generate_set(pipeline, RECORDS, tmp_path / "copy", twins=[tmp_path / "nothing", twin], **QUICK)
    assert contents(copy) == whole | {RECORDS[0]["file"]: whole[RECORDS[2]["file"]]}
    assert len(calls) == 2  # the chunks 0–2 and 6–8
    assert (copy / "manifest.jsonl").read_bytes() == (twin / "manifest.jsonl").read_bytes()

    other = generate_set(pipeline, RECORDS, tmp_path / "other", [Shift()], twins=[twin], **QUICK)
    assert set(contents(other).values()).isdisjoint(whole.values())
    (twin / "manifest.jsonl").unlink()
    assert contents(generate_set(pipeline, RECORDS, tmp_path / "new", twins=[twin], **QUICK)) == whole


def test_records_that_agree_in_what_is_read_make_a_twin(tmp_path):
    """A further field of the records is nothing to the base, nor to a method that does not read it; to one that reads
    it, or that does not say what it reads, it is another set."""
    pipeline, calls = tiny_pipeline(), []

    def changed(field, value):
        return [record | ({field: value} if i == 4 else {}) for i, record in enumerate(RECORDS)]

    def made(name, records, interventions=(), twin="plain"):
        before = len(calls)
        generate_set(pipeline, records, tmp_path / name, interventions, twins=[tmp_path / twin], **QUICK)
        return len(calls) - before

    class Reader(Shift):
        reads = ("amount",)

    calls = count_calls(pipeline)
    assert made("plain", RECORDS) == 4
    assert made("noted", changed("note", "x")) == 0
    assert json.loads((tmp_path / "noted" / "manifest.jsonl").read_text().splitlines()[4])["note"] == "x"
    assert contents(tmp_path / "noted") == contents(tmp_path / "plain")
    assert made("other seed", changed("seed", 99)) == made("other prompt", changed("prompt", "a cup")) == 4
    assert made("read", RECORDS, [Reader()], "nothing") == 4
    assert made("read and noted", changed("note", "x"), [Reader()], "read") == 0
    assert made("read otherwise", changed("amount", 2), [Reader()], "read") == 4
    assert made("unsaid", RECORDS, [Shift()], "nothing") == 4
    assert made("unsaid and noted", changed("note", "x"), [Shift()], "unsaid") == 4
    assert made("unsaid again", RECORDS, [Shift()], "unsaid") == 0
    assert made("mixed", changed("note", "x"), [Reader(), Shift()], "unsaid") == 4


def test_folder_that_is_no_set_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / RECORDS[3]["file"]).touch()
    with pytest.raises(UserError, match="a nurse_3.png is there but no .*run.json that says what made it; choose"):
        generate_set(tiny_pipeline(), RECORDS, tmp_path, **QUICK)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UserError, match="run.json is not a generated set's"):
        generate_set(tiny_pipeline(), RECORDS, tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"file": "../a.png", "prompt": "x", "seed": 1}, "leaves its folder"),
        ({"file": "/a.png", "prompt": "x", "seed": 1}, "leaves its folder"),
        ({"prompt": "x", "seed": 1}, "the name of a file is needed"),
        ({"file": "a.gif", "prompt": "x", "seed": 1}, "record 2: 'a.gif' must end in .png, .jpg, .jpeg"),
        ({"file": "a.png", "prompt": "x"}, "record 2: it needs a prompt .text. and a seed"),
        ({"file": "a.png", "prompt": 3, "seed": 1}, "record 2: it needs a prompt"),
        (RECORDS[0], "two records have the same file 'a nurse_0.png'"),
    ],
)
def test_bad_records(tmp_path, record, message):
    with pytest.raises(UserError, match=message):
        generate_set(tiny_pipeline(), [RECORDS[0], record], tmp_path / "set", **QUICK)
    assert not (tmp_path / "set").exists()


def test_jpeg_beside_the_manifest_where_a_published_layout_asks(tmp_path):
    record = {"file": "a nurse_0.jpg", "prompt": "a nurse", "seed": 1}
    generate_set(tiny_pipeline(), [record], tmp_path, images_dir=".", **QUICK)
    with Image.open(tmp_path / "a nurse_0.jpg") as image:
        assert image.format == "JPEG"


def test_full_disk_keeps_what_was_made(tmp_path, monkeypatch):
    saved = []

    def save(self, file, **_):
        if len(saved) == 4:
            raise OSError(28, "No space left on device")
        saved.append(file)
        Path(file).write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match="a nurse_4.png can't be written .No space left on device.; the pictures"):
        generate_set(tiny_pipeline(), RECORDS, tmp_path, **QUICK)
    assert len(contents(tmp_path)) == 4 and not (tmp_path / "manifest.jsonl").exists()


def make(folder: Path) -> None:
    """The set, and nine pictures that every process sees."""
    state = process_state()
    pipeline = load_pipeline(folder / "base", device="cpu")
    generate_set(pipeline, RECORDS, folder / "set", accelerator=state, **QUICK)
    nine = RECORDS[:9]  # three chunks for two processes
    prompts, seeds = [record["prompt"] for record in nine], [record["seed"] for record in nine]
    images = generate(pipeline, prompts, seeds, accelerator=state, **QUICK)
    (folder / f"seen-by-{state.process_index}").write_bytes(b"".join(image.tobytes() for image in images))


def test_the_manifest_is_there_when_the_others_go_on(tmp_path):
    """Nobody returns before the main process has written it."""
    there = []
    state = SimpleNamespace(is_main_process=True, process_index=0, num_processes=1)
    state.wait_for_everyone = lambda: there.append((tmp_path / "manifest.jsonl").is_file())
    generate_set(tiny_pipeline(), RECORDS[:1], tmp_path, accelerator=state, **QUICK)
    assert there[0] is False and there[-1] is True


def test_two_processes_write_the_bytes_of_one(tmp_path):
    tiny_folder(tmp_path / "base")
    one = generate_set(tiny_pipeline(), RECORDS, tmp_path / "one", **QUICK)
    in_two_processes(make, tmp_path)
    assert contents(tmp_path / "set") == contents(one)
    assert (tmp_path / "set" / "manifest.jsonl").read_bytes() == (one / "manifest.jsonl").read_bytes()
    assert json.loads((tmp_path / "set" / "run.json").read_text())["processes"] == 2
    pixels = b"".join(load_image(one / "images" / record["file"]).tobytes() for record in RECORDS[:9])
    assert [(tmp_path / f"seen-by-{process}").read_bytes() for process in (0, 1)] == [pixels] * 2


def make_until_killed(folder: Path) -> None:
    """Half of the fifth picture is written when the kill comes."""
    save = Image.Image.save

    def mortal(image, file, *arguments, **options):
        save(image, file, *arguments, **options)
        if len(list((folder / "set" / "images").glob("*.png"))) == 4:
            content = Path(file).read_bytes()
            Path(file).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    Image.Image.save = mortal
    make(folder)


def test_killed_in_the_middle_it_goes_on(tmp_path):
    tiny_folder(tmp_path / "base")
    assert in_process(make_until_killed, tmp_path) == -signal.SIGKILL
    made = {path.name for path in (tmp_path / "set" / "images").glob("*.png")}
    assert len(made) == 4 and not (tmp_path / "set" / "manifest.jsonl").exists()
    generate_set(tiny_pipeline(), RECORDS, tmp_path / "set", **QUICK)
    assert contents(tmp_path / "set") == contents(generate_set(tiny_pipeline(), RECORDS, tmp_path / "whole", **QUICK))
