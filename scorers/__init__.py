"""Judges: images in, a row an image out. Used by the evaluation and by methods that must look at what they made."""

# what a specification calls a judge, and the module whose `load` takes its options
KINDS = {
    "clip": "scorers.clip",
    "vlm": "scorers.vlm",
    "nudenet": "scorers.nude_detector",
    "q16": "scorers.q16",
    "any_of": "scorers.any_of",
    "hps": "scorers.hps",
    "pickscore": "scorers.pickscore",
    "image_reward": "scorers.image_reward",
    "aesthetic": "scorers.aesthetic",
}


def load_scorer(path: str, **options: str):
    """Load a judge of this package, as `scorers:clip?model=FOLDER_OR_HUB_ID` names it.

    Args:
        path: the kind of judge, one of KINDS.
        options: of that kind, as text; its module's `load` says which there are.

    Raises:
        UserError: there is no such kind, an option is unknown or of the wrong type, or the judge cannot be loaded.
    """
    import importlib

    from diffusion_base.errors import UserError
    from diffusion_base.plugins import typed_options

    if path not in KINDS:
        raise UserError(f"'scorers:{path}': there is no such judge; there are {', '.join(KINDS)}")
    load = importlib.import_module(KINDS[path]).load
    return load(**typed_options(load, options, f"scorers:{path}"))
