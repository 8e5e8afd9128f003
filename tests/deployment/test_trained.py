import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from segmenting import ARCH, random_variables, write_workdir

from rtseg_jax.config import base_config, run_spec
from rtseg_jax.data.class_file import to_json
from rtseg_jax.deployment.trained import load_trained, read_spec
from rtseg_jax.errors import UserError
from rtseg_jax.training.checkpoints import save_tree
from rtseg_jax.training.workdir import Workdir


def test_a_recorded_config_is_read_as_it_was(tmp_path):
    config = base_config()
    config.batch_size, config.data.eval_size = 6, (256, 512)
    Workdir(tmp_path).claim(config, to_json(run_spec(config).info))
    assert read_spec(Workdir(tmp_path)) == run_spec(config)


def test_fields_that_came_later_have_the_recipes_values(tmp_path):
    config = base_config()
    config.train.momentum = 0.5
    recorded = json.loads(config.to_json_best_effort())
    del recorded["budget"], recorded["train"]["power"]
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    assert read_spec(Workdir(tmp_path)) == run_spec(config)


def test_every_network_of_a_run_can_be_read_and_those_of_the_run_it_began_from(tmp_path):
    first = write_workdir(tmp_path / "first", random_variables())
    scaled = jax.tree.map(lambda x: 2 * x, random_variables())
    save_tree(first.checkpoints("uniform_variables"), scaled)
    ARCH.save(first.uniform)
    with pytest.raises(UserError, match=r"--network=uniform: .* has none, its phase 'uniform' is not finished"):
        load_trained(first, "uniform")
    first.finish("uniform", {})
    config = base_config()
    config.data.name, config.data.data_dir, config.init_from = "synthetic_streets", "/nowhere", str(first.root)
    second = Workdir(tmp_path / "second")
    second.claim(config, to_json(run_spec(config).info))
    for place in (first, second):
        found = load_trained(place, "uniform")
        assert (found.arch, found.spec) == (ARCH, read_spec(place))
        jax.tree.map(np.testing.assert_array_equal, found.variables, scaled)
    jax.tree.map(np.testing.assert_array_equal, load_trained(first).variables, random_variables())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "damaged"), ('{"train": {"no_such_field": 1}}', "damaged"), ("[]", "damaged")],
)
def test_other_files_are_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_spec(Workdir(tmp_path))


def test_classes_of_a_folder_are_those_that_the_run_recorded(tmp_path):
    place = Workdir(tmp_path / "run")
    config = base_config()
    config.data.name, config.data.data_dir = "folder", str(tmp_path / "gone")
    place.root.mkdir()
    (place.root / "config.json").write_text(config.to_json_best_effort())
    with pytest.raises(UserError, match="gone is not there"):
        read_spec(place)
    classes = {"classes": ["grass", "weed"], "ids": [0, [255, 7]], "palette": [[1, 2, 3], [4, 5, 6]], "ignore": [9]}
    place.claim(config, classes)
    place.claim(config, classes)
    spec = read_spec(place)
    assert spec.network.num_classes == 2
    assert (spec.info.class_names, spec.info.palette) == (("grass", "weed"), ((1, 2, 3), (4, 5, 6)))
    assert spec.info.labels.ids == {0: 0, 255: 1, 7: 1, 9: 255}
    with pytest.raises(UserError, match="this run began with other classes"):
        place.claim(config, {**classes, "classes": ["weed", "grass"]})
