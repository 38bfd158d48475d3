"""The methods that `--method` names, reached as interventions and by nothing else."""

from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.intervention import Intervention, load_intervention

BASE = ("base", "sd-1-5")
METHODS = (*BASE, "livo")


def interventions_of(method: str, livo_model: str | None, pipeline) -> list[Intervention]:
    """What a method does to the base; the value comes with each picture's record.

    Args:
        method: one of METHODS.
        livo_model: the value encoder's folder, or a run's or checkpoint's that holds `value_encoder/`, or a hub name.

    Raises:
        UserError: see `check_method`, or no value encoder can be loaded.
    """
    check_method(method, livo_model)
    return [] if method in BASE else [load_intervention(f"value_encoder:{livo_model}", pipeline)]


def check_method(method: str, livo_model: str | None) -> None:
    """Refuse what cannot work before anything heavy is loaded.

    Raises:
        UserError: an unknown method, or `livo` without its model.
    """
    if method not in METHODS:
        raise UserError(f"--method {method}: there is no such method; there are {', '.join(METHODS)}")
    if method in BASE:
        return
    if not livo_model:
        raise UserError(
            "--method livo needs --livo_model: a value encoder's folder, or that of the run that trained it"
        )
    if not Path(livo_model).is_dir() and livo_model.count("/") != 1:  # owner/name may be on the hub
        raise UserError(f"--livo_model {livo_model}: there is no such folder")
