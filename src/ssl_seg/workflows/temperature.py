"""The temperature that a run has recorded for its confidences."""

import math
from typing import TYPE_CHECKING, Any

from ssl_seg.engine.calibration import TEMPERATURES
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_json

if TYPE_CHECKING:
    from ssl_seg.workflows.inference import InferenceSession


def use_recorded_temperature(session: "InferenceSession") -> None:
    """Divide logits by the temperature in the run's `result.json`, if it is that of the epoch that is loaded.

    A value that cannot be is warned of and not used.
    """
    folder = find_run(session.run)
    path = folder / "result.json"
    if not path.is_file():
        return
    warn_of_damage(folder)
    try:
        result = read_json(path)
    except (OSError, ValueError) as error:
        log.warning("%s: %s; confidences are not calibrated", path, error)
        return
    recorded = result.get("calibration")
    if recorded is None or not _is_of_epoch(session, recorded):
        return
    temperature = recorded.get("temperature")
    low, high = TEMPERATURES
    if not isinstance(temperature, int | float) or not low <= temperature <= high:
        log.warning("%s: invalid temperature %r; confidences are not calibrated", path, temperature)
        return
    if not math.isclose(temperature, 1.0):
        session.temperature = float(temperature)
        session.progress.print_line(f"confidences are calibrated: temperature {temperature:.3f}, from {path}")


def _is_of_epoch(session: "InferenceSession", recorded: Any) -> bool:
    """Whether the model is that of the epoch which was calibrated: the last one."""
    if not isinstance(recorded, dict):
        return False
    return session.which == "last" or session.loaded.metadata.get("epoch") == recorded.get("epoch")
