"""The miniature: a small synthetic world whose truth is known, and a Stable Diffusion trained on it."""

GUIDANCE = 2.5  # the one guidance scale at which the miniature is checked, and used throughout


def load_scorer(path: str):
    """The oracle as a judge, for the specification ``miniature:assets/miniature/oracle``."""
    from miniature.oracle import Oracle

    return Oracle.from_folder(path)
