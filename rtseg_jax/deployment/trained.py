"""What a finished run leaves to be deployed."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from rtseg_jax.architecture import ArchSpec, Network, declare, declare_spec
from rtseg_jax.config import RunSpec, base_config, data_spec, run_spec
from rtseg_jax.data import DatasetInfo, recorded_info
from rtseg_jax.errors import UserError
from rtseg_jax.export.child import BEST
from rtseg_jax.files import Place
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.models.normalization import IMAGE_MEAN, IMAGE_STD
from rtseg_jax.search.uniform import supernet_spec
from rtseg_jax.training.checkpoint_files import weights_provenance
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.choosing import TRAINED
from rtseg_jax.training.run import zero_variables
from rtseg_jax.training.workdir import Workdir

NORMALIZATION = (IMAGE_MEAN, IMAGE_STD)
NETWORKS = (BEST, *TRAINED)
"""What a run may have of networks: the one that it hands over, and each by its name."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best network of a run.

    Attributes:
      arch: what was decided.
      variables: `params` and `batch_stats`.
      spec: of the run.
      provenance: of the weights; None where they do not say.
    """

    arch: ArchSpec
    variables: dict[str, Any]
    spec: RunSpec
    provenance: Mapping[str, Any] | None = None

    @property
    def network(self) -> Network:
        """The network's declaration."""
        return declare_spec(self.arch)

    @property
    def info(self) -> DatasetInfo:
        """Classes and colours of the data that it was trained on."""
        return self.spec.info


def load_trained(workdir: Workdir, network: str = BEST) -> Trained:
    """Reads architecture, weights and config of a run; the data need not be there.

    Args:
      workdir: of the run.
      network: one of `NETWORKS`.

    Raises:
      UserError: no architecture, no weights, or no config in the workdir.
    """
    arch, folder = _handed_over(workdir) if network == BEST else _one_of(workdir, network)
    variables = load_newest(folder, zero_variables(SegmentationNetwork(declare_spec(arch))))
    return Trained(arch, variables, read_spec(workdir), weights_provenance(folder))


def _handed_over(workdir: Workdir) -> tuple[ArchSpec, Place]:
    return ArchSpec.load(workdir.architecture), workdir.checkpoints("best_variables")


def _one_of(workdir: Workdir, network: str) -> tuple[ArchSpec, Place]:
    """Architecture of a network of a run and the folder of its weights, which may be those of the run it began from."""
    spec, phase = read_spec(workdir), TRAINED[network]
    places = workdir.and_start(spec.init_from)
    place = next((place for place in places if place.finished(phase)), None)
    if place is None:
        raise UserError(f"--network={network}: {workdir.root} has none, its phase {phase!r} is not finished")
    files = {"searched": place.searched, "uniform": place.uniform, "trained": place.trained}
    if network in files:
        return ArchSpec.load(files[network]), place.checkpoints(f"{phase}_variables")
    return supernet_spec(spec.network, declare(spec.network)), place.checkpoints(f"{phase}_variables")


def read_spec(workdir: Workdir) -> RunSpec:
    """The frozen config of a run; fields that came after it have the recipe's values.

    Raises:
      UserError: the workdir has no config, or a damaged one.
    """
    path = workdir.root / "config.json"
    try:
        recorded = _tuples(json.loads(path.read_text()))
        config = ml_collections.ConfigDict(_filled_up(recorded, base_config().to_dict()))
        return run_spec(config, recorded_info(data_spec(config), workdir.classes))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; name the workdir of a run") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: damaged, or of another version ({reason}); use the one that wrote it") from error


def _filled_up(value: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    missing = {name: default for name, default in defaults.items() if name not in value}
    deeper = {name: _filled_up(value[name], defaults[name]) for name in value if isinstance(defaults.get(name), dict)}
    return {**value, **missing, **deeper}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
