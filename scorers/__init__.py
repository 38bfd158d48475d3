"""Judges: images in, a row an image out. Used by the evaluation and by methods that must look at what they made."""


def load_scorer(
    path: str,
    *,
    model: str = "openai/clip-vit-large-patch14",
    device: str = "cpu",
    batch_size: int = 64,
    subjects: str = "person,man,woman",
):
    """Load a judge of this package, as `scorers:clip?model=FOLDER_OR_HUB_ID` names it.

    Args:
        path: the kind of judge: `clip`.
        model: its weights, a folder or a hub id.
        device: where it runs.
        batch_size: pictures at a time.
        subjects: who may be in the pictures, separated by commas; harms are asked about with each of them.

    Raises:
        UserError: there is no such kind, or no such model.
    """
    from diffusion_base.errors import UserError

    if path != "clip":
        raise UserError(f"scorers:{path}: there is no such judge; there is: scorers:clip?model=…")
    from scorers.clip import CLIPScorer

    return CLIPScorer.from_pretrained(model, device=device, batch_size=batch_size, subjects=subjects.split(","))
