"""What things are known by, wherever they lie: hashes of JSON values, files, tensors, weights and bases."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_base.errors import UserError

if TYPE_CHECKING:  # not imported here: whoever has tensors has torch
    import torch

    from diffusion_base.families import Pipeline


def digest(*parts: bytes | memoryview) -> str:
    """The sha256 of the parts, one after the other, in hex."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def file_hash(file: Path) -> str:
    """The sha256 of a file of any size, in hex."""
    whole = hashlib.sha256()
    with file.open("rb") as stream:  # hashlib.file_digest is of Python 3.11
        while chunk := stream.read(2**20):
            whole.update(chunk)
    return whole.hexdigest()


def json_hash(value: Any) -> str:
    """16 hex digits of a JSON value."""
    return digest(json.dumps(value, sort_keys=True).encode())[:16]


def content_keys(paths: Iterable[Path]) -> list[str]:
    """The sha256 of each file: what a picture is known by, wherever it lies.

    Raises:
        UserError: a file is missing or cannot be read.
    """

    def key(path: Path) -> str:
        try:
            return digest(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such picture") from None
        except OSError as error:
            raise UserError(f"{path}: the picture can't be read ({error.strerror})") from None

    with ThreadPoolExecutor() as pool:  # hashlib works outside the interpreter lock
        return list(pool.map(key, paths))


def tensor_hash(tensor: "torch.Tensor") -> str:
    """16 hex digits of a tensor's shape and float32 content."""
    return digest(repr(tuple(tensor.shape)).encode(), _content(tensor.float()))[:16]


def weights_hash(modules: "dict[str, torch.nn.Module]") -> str:
    """16 hex digits that identify the weights of named modules, in the precision they have."""
    with ThreadPoolExecutor() as pool:
        return digest(*pool.map(_tensor_digest, *zip(*_tensors(modules), strict=True)))[:16]


def model_version(model: "torch.nn.Module", words: Sequence[str] = ()) -> str:
    """16 hex digits that identify a judge: its weights, and the words that it asks with."""
    parts: list[bytes | memoryview] = [repr(tuple(words)).encode()]
    for name, tensor in sorted(model.state_dict().items()):
        parts += [name.encode(), _content(tensor)]
    return digest(*parts)[:16]


BLOCK = 8192
# what this process knows of bases: by their weights' fingerprint, and by what former versions recorded of them
_known: dict[str, str] = {}
# id of a tensor that is put in for a while → the base's own in its place
_own: "dict[int, torch.Tensor]" = {}


def base_hash(pipeline: "Pipeline") -> str:
    """16 hex digits that identify the weights of a base, wherever they lie and whether in float32 or in float16.

    That is the hash of the weights rounded to float16, so a base's published fp16 variant is that base. Rounding to
    bfloat16 loses more: a base in bfloat16 is known again only if `load_pipeline` made it. Weights that have stayed the
    same are not hashed again.
    """
    modules = modules_of(pipeline)
    fingerprint = _fingerprint(modules)
    if fingerprint not in _known:
        named = _tensors(modules)
        with ThreadPoolExecutor() as pool:
            rounded = digest(*pool.map(lambda entry: _tensor_digest(entry[0], _through_half(entry[1])), named))[:16]
        _known[fingerprint] = _known[weights_hash(modules)] = rounded
    return _known[fingerprint]


def remember_base(pipeline: "Pipeline", known_as: str) -> None:
    """From now on a base whose weights are exactly these is known by a hash that was taken before they were cast."""
    modules = modules_of(pipeline)
    _known[_fingerprint(modules)] = _known[weights_hash(modules)] = known_as


@contextmanager
def known_by(stand_ins: "Sequence[tuple[torch.Tensor, torch.Tensor]]") -> Iterator[None]:
    """Inside, a base in which tensors stand for its own, (stand-in, own) each, is known by its own."""
    _own.update({id(stand_in): _own.get(id(own), own) for stand_in, own in stand_ins})
    try:
        yield
    finally:
        for stand_in, _ in stand_ins:
            del _own[id(stand_in)]


def base_of_run(inside: Path) -> str | None:
    """What the run or checkpoint that a file or folder lies in says of the base; None where it lies in neither.

    Raises:
        UserError: what it says is damaged.
    """
    run = inside.absolute().parent
    file = next((file for file in (run / "training.json", run / "state.json") if file.is_file()), None)
    if file is None:
        return None
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return facts["base_hash"] if file.name == "training.json" else facts["run"]["base_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged, so what {inside} was trained on is not known ({error!r})") from None


def same_base(recorded: str | None, here: str) -> bool:
    """Whether two hashes are one base's: they are equal, or the recorded one is of a former version, which hashed the
    weights in the precision they had; it is known again once `base_hash` was asked of the base in that precision."""
    return recorded is not None and _known.get(recorded, recorded) == here


def modules_of(pipeline: "Pipeline") -> "dict[str, torch.nn.Module]":
    """A base's networks by their names."""
    from torch.nn import Module

    return {name: part for name, part in sorted(pipeline.components.items()) if isinstance(part, Module)}


def precision_of(pipeline: "Pipeline") -> str:
    """The precision of a base's weights: "float16", or "float16, vae float32" where one is of another."""
    names = {name: str(part.dtype).removeprefix("torch.") for name, part in modules_of(pipeline).items()}
    most = str(pipeline.dtype).removeprefix("torch.")
    return ", ".join([most, *(f"{part} {name}" for part, name in names.items() if name != most)])


def learned_elsewhere(recorded: str | None, pipeline: "Pipeline", source: str, other_base: bool) -> dict[str, str]:
    """What the description of something learned must say of its base: nothing where that is this base, or not known.

    Args:
        recorded: the hash of the base that it was learned on.
        pipeline: the base that it is to be used on.
        source: what was learned, for the error.
        other_base: whether another base is meant to be taken, such as a fine-tune.

    Raises:
        UserError: it was learned on another base, and that is not meant.
    """
    if recorded is None or same_base(recorded, here := base_hash(pipeline)):
        return {}
    if not other_base:
        precision = precision_of(pipeline)
        reopen = "open it by load_pipeline, in float32 if a former version recorded the base"
        cast = "" if precision == "float32" else f" in {precision}, which may be why: {reopen}"
        raise UserError(
            f"{source} was learned on another base ({recorded}, not {here}{cast}): take that one, or learn it on this "
            "one; where this one is a fine-tune of it, other_base=true says so"
        )
    return {"warning": f"learned on another base, {recorded}"}


def _tensors(modules: "dict[str, torch.nn.Module]") -> "list[tuple[str, torch.Tensor]]":
    return [
        (f"{component}.{name}", _own.get(id(tensor), tensor))
        for component, module in modules.items()
        for name, tensor in sorted(module.state_dict(keep_vars=True).items())
    ]


def _tensor_digest(name: str, tensor: "torch.Tensor") -> bytes:
    header = f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
    return hashlib.sha256(header + hashlib.sha256(_content(tensor)).digest()).digest()


def _through_half(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor.detach().cpu().half().float() if tensor.is_floating_point() else tensor


def _fingerprint(modules: "dict[str, torch.nn.Module]") -> str:
    """Of weights exactly as they are, at the speed of memory: each 8 KB are summed where they lie, every
    word times an odd number of its own, so that no change of one is lost and an exchange of two shows.

    A change in place shows by whatever way it came about. (Tensors' own counters of changes miss those through `.data`,
    which is how LoRAs are merged.)
    """
    import torch

    parts: list[bytes | memoryview] = []
    for name, tensor in _tensors(modules):
        octets = tensor.detach().reshape(-1).view(torch.uint8)
        octets = octets.clone() if octets.storage_offset() % 8 else octets
        end = len(octets) // BLOCK * BLOCK
        words = octets[:end].view(torch.int64).reshape(-1, BLOCK // 8)
        factors = torch.arange(1, BLOCK // 4, 2, device=words.device)
        sums = words.mv(factors) if words.is_cpu else (words * factors).sum(1)  # CUDA has no mv of whole numbers
        parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), _content(sums), _content(octets[end:])]
    return digest(*parts)


def _content(tensor: "torch.Tensor") -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
