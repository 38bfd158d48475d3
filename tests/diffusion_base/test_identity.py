"""A base is known by its weights, in whatever precision, wherever they lie; and by what former versions recorded."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from concept_vectors.vectors import load_vectors
from diffusion_base import identity
from diffusion_base.errors import UserError
from diffusion_base.generation import generate_set
from diffusion_base.identity import base_hash, file_hash, precision_of, same_base
from diffusion_base.pipeline import load_pipeline
from diffusion_base.training.checkpoint import check_same_run
from tests.concept_vectors.vector_files import random_vectors
from tests.tiny import tiny_folder, tiny_pipeline

MINIATURE = Path(__file__).parents[2] / "assets" / "miniature"
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loaded(folder):
    return [load_pipeline(folder, dtype=dtype, device="cpu") for dtype in PRECISIONS]


def hash_of_former_versions(pipeline) -> str:
    """As they computed it."""
    whole = hashlib.sha256()
    for component, module in sorted(pipeline.components.items()):
        for name, tensor in sorted(module.state_dict().items()) if isinstance(module, torch.nn.Module) else ():
            content = hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            header = f"{component}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
            whole.update(hashlib.sha256(header + content.digest()).digest())
    return whole.hexdigest()[:16]


def test_it_belongs_to_the_weights(loaded):
    pipeline = tiny_pipeline()
    assert base_hash(pipeline) == base_hash(loaded[0]) and len(base_hash(pipeline)) == 16
    assert base_hash(tiny_pipeline(seed=1)) != base_hash(pipeline)


def test_a_base_is_the_same_in_every_precision(loaded):
    """Its weights are drawn in float32 and fit into neither half precision."""
    assert [precision_of(pipeline) for pipeline in loaded] == ["float32", "float16", "bfloat16"]
    assert {base_hash(pipeline) for pipeline in loaded} == {base_hash(tiny_pipeline().to(torch.float16))}
    assert len({tuple(pipeline.unet.conv_in.bias.tolist()) for pipeline in loaded}) == 3


def test_weights_cast_to_bfloat16_by_hand_are_not_taken_for_the_base():
    pipeline = tiny_pipeline(seed=2)
    known = base_hash(pipeline)
    assert base_hash(pipeline.to(torch.bfloat16)) != known
    pipeline.vae.float()
    assert precision_of(pipeline) == "bfloat16, vae float32"


def test_unchanged_weights_are_not_hashed_again_and_changed_ones_are(monkeypatch):
    pipeline = tiny_pipeline()
    before = base_hash(pipeline)
    hashed = []
    monkeypatch.setattr(
        identity,
        "_tensor_digest",
        lambda name, tensor, digest=identity._tensor_digest: hashed.append(name) or digest(name, tensor),
    )
    weight = pipeline.unet.mid_block.resnets[0].conv1.weight
    large = pipeline.text_encoder.embeddings.token_embedding.weight  # of several blocks
    kept = large.clone()
    assert base_hash(pipeline) == before
    large.mul_(2)
    large.copy_(kept)  # as a method of the weights door does
    assert base_hash(pipeline) == before and not hashed
    hashes = {before}
    for change in (
        lambda: weight.add_(1e-3),
        lambda: weight.data.add_(1e-3),  # which no counter sees
        lambda: setattr(weight, "data", weight.data + 1e-3),
        lambda: large.data[300, 7].add_(1e-3),
        lambda: large.data.copy_(large.data.flip(0)),
        lambda: large.data[:2].copy_(large.data[:2].flip(0)),  # within a block
        lambda: weight.data[0, 0, 0, 1].neg_(),
    ):
        change()
        hashes.add(base_hash(pipeline))
    assert len(hashes) == 8 and hashed


def test_hash_of_the_miniature_is_what_its_runs_recorded():
    """Its weights are stored in float16, so that former versions, which hashed float32, recorded this very hash."""
    for dtype in PRECISIONS:
        assert base_hash(load_pipeline(MINIATURE, dtype=dtype, device="cpu")) == "57c9fa397a395afc"


def test_vectors_go_from_one_precision_to_the_others(loaded, tmp_path):
    file = tmp_path / "concept_vectors.safetensors"
    for learned in loaded:
        random_vectors(learned).save(file)
        for used in loaded:
            load_vectors(file, used)
    random_vectors(tiny_pipeline(seed=4)).save(file)
    by_hand = tiny_pipeline(seed=4).to(torch.bfloat16)
    with pytest.raises(UserError, match="another base .* in bfloat16, which may be why: open it by load_pipeline"):
        load_vectors(file, by_hand)


def test_vectors_of_a_former_version_tell_how_their_base_is_known_again(tmp_path, monkeypatch):
    """They recorded the hash of float32, which can't be had from weights in float16."""
    base = tiny_pipeline(seed=5)
    file, vectors = tmp_path / "concept_vectors.safetensors", random_vectors(base)
    replace(vectors, base_hash=hash_of_former_versions(base)).save(file)
    monkeypatch.setattr(identity, "_known", {})  # as in a new process
    half = tiny_pipeline(seed=5).to(torch.float16)
    with pytest.raises(UserError, match="in float32 if a former version recorded the base.*other_base=true says so"):
        load_vectors(file, half)
    load_vectors(file, base)


def test_hashes_of_former_versions_are_known(loaded, tmp_path):
    run = {"arguments": {}, "data": "0"}
    for pipeline in loaded:
        former, here = hash_of_former_versions(pipeline), base_hash(pipeline)
        assert former != here and same_base(former, here) and not same_base(former, base_hash(tiny_pipeline(seed=1)))
        check_same_run(tmp_path, run | {"base_hash": former}, run | {"base_hash": here}, {})
    assert not same_base(None, here)
    with pytest.raises(UserError, match="is a checkpoint of another base"):
        check_same_run(tmp_path, run | {"base_hash": "0"}, run | {"base_hash": here}, {})


def test_sets_of_former_versions_are_continued_and_lent_in_their_own_precision(tmp_path):
    records, options = [{"file": "0.png", "prompt": "a cat", "seed": 1}], {"num_inference_steps": 1, "progress": False}
    pipeline = tiny_pipeline(seed=3)
    generate_set(pipeline, records, tmp_path / "old", **options)
    run = json.loads((tmp_path / "old" / "run.json").read_text())
    assert run["identity"].pop("dtype") == "float32"
    run["identity"]["base"] = hash_of_former_versions(pipeline)
    (tmp_path / "old" / "run.json").write_text(json.dumps(run))
    picture = tmp_path / "old" / "images" / "0.png"
    picture.write_bytes(picture.read_bytes() + b"lent")
    generate_set(pipeline, records, tmp_path / "new", twins=[tmp_path / "old"], **options)
    assert (tmp_path / "new" / "images" / "0.png").read_bytes().endswith(b"lent")
    (tmp_path / "old" / "run.json").write_text(json.dumps(run))
    generate_set(pipeline, records, tmp_path / "old", **options)

    known_as, half = base_hash(pipeline), pipeline.to(torch.bfloat16)
    identity.remember_base(half, known_as)
    with pytest.raises(UserError, match="another run, which differs in dtype;"):
        generate_set(half, records, tmp_path / "new", **options)


def test_a_file_is_hashed_on_every_python(tmp_path, monkeypatch):
    """Larger than what is read at once, and without what hashlib has since Python 3.11."""
    monkeypatch.delattr(hashlib, "file_digest", raising=False)
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_hash(tmp_path / "file") == hashlib.sha256(content).hexdigest()
