import json

import pytest

from rtseg_jax.config import base_config, run_spec
from rtseg_jax.deployment.trained import read_spec
from rtseg_jax.errors import UserError
from rtseg_jax.training.workdir import Workdir


def test_a_recorded_config_is_read_as_it_was(tmp_path):
    config = base_config()
    config.batch_size, config.data.eval_size = 6, (256, 512)
    Workdir(tmp_path).claim(config)
    assert read_spec(Workdir(tmp_path)) == run_spec(config)


def test_fields_that_came_later_have_the_recipes_values(tmp_path):
    config = base_config()
    config.train.momentum = 0.5
    recorded = json.loads(config.to_json_best_effort())
    del recorded["budget"], recorded["train"]["power"]
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    assert read_spec(Workdir(tmp_path)) == run_spec(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "damaged"), ('{"train": {"no_such_field": 1}}', "damaged"), ("[]", "damaged")],
)
def test_other_files_are_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_spec(Workdir(tmp_path))
