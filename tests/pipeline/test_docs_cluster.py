import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from groundstream.pipeline.observe.health import DetectorHealth, PipelineHealth, StreamHealth
from groundstream.pipeline.observe.metrics import HealthCollector

TEXT = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")


def block(first_line: str) -> dict[str, object]:
    """Return the YAML block of the page that begins with a comment."""
    found = re.search(rf"```yaml\n{re.escape(first_line)}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    values = yaml.safe_load(found[1])
    assert isinstance(values, dict)
    return values


def test_ray_takes_the_file_for_ray_up() -> None:
    config = prepare_config(block("# cluster-machines.yaml"))
    validate_config(config)
    assert config["max_workers"] == 1


def test_the_file_for_kubernetes_is_a_cluster_with_a_token() -> None:
    values = block("# cluster-kube.yaml")
    assert (values["apiVersion"], values["kind"]) == ("ray.io/v1", "RayCluster")
    assert values["spec"]["authOptions"] == {"mode": "token"}  # type: ignore[index]


def test_every_metric_is_listed_with_its_labels() -> None:
    listed = dict(re.findall(r"^\| `(groundstream_\w+)` \| ([\w, ]+) \|", TEXT, re.MULTILINE))
    stream = StreamHealth("a", reason="refused", dropped={"newer_frame": 1})
    health = PipelineHealth((stream,), (DetectorHealth("d", "cpu"),))
    for family in HealthCollector(lambda: health).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        labels |= {"quantile"} if family.type == "summary" else set()
        assert set(listed.pop(name).split(", ")) == labels, name
    assert not listed


@pytest.mark.parametrize("flag", ["--metrics-port", "--metrics-bind", "--ray-address", "--executor"])
def test_the_flags_that_the_page_names_are_there(flag: str) -> None:
    from groundstream.pipeline.cli import run_with_flags

    assert flag in TEXT
    assert flag in {name for option in run_with_flags().params for name in option.opts}
