"""The options for one's own samples, and their files in conf/data."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from tests.data.media import talk, write, write_json
from vxl.data.base import DataConfig
from vxl.data.json import JsonConfig
from vxl.data.mixture import MixtureConfig, SourceConfig
from vxl.data.sample import Sample
from vxl.data.shards import ShardsConfig
from vxl.errors import ConfigError, DataError
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.option.schema import schema_of

FILES = sorted((Path(__file__).parents[2] / "conf/data").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_every_key_with_its_default(path):
    values = yaml.safe_load(path.read_text())
    schema = schema_of(values["_target_"])
    fields = {field.name: field for field in dataclasses.fields(schema)}
    assert issubclass(schema, DataConfig)
    assert values.keys() == fields.keys()
    for name, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert values[name] == field.default
        elif field.default_factory is not dataclasses.MISSING:
            assert values[name] == field.default_factory()
        else:
            # A published stage's data names its sources; data=mixture leaves them to the user.
            published = name == "sources" and path.stem != "mixture"
            assert (values[name] == "???") != published


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch", 0), ("max_tokens", 0), ("bucket", 0), ("workers", -1), ("max_bad_fraction", 2.0)],
)
def test_numbers_that_make_no_sense(key, value):
    with pytest.raises(ConfigError, match=f"{key}={value}"):
        ShardsConfig(train=["a.tar"], **{key: value})


def keys(source):
    found = [source.record(n) for n in range(len(source))]
    assert all(isinstance(sample, Sample) for sample in found)
    return [sample.key for sample in found]


def test_shards(tmp_path):
    write(tmp_path, 6, shards=2)
    write(tmp_path, 2, first="v")
    config = ShardsConfig(train=[str(tmp_path / "s-*.tar")], val=[str(tmp_path / "v-*.tar")])
    data = build(config, cache=tmp_path / "cache")
    data.prepare()
    assert sorted(keys(data.training(0).sources["shards"])) == [f"s{n:04d}" for n in range(6)]
    assert keys(data.validation()) == ["v0000", "v0001"]
    assert "What happens?" in set(data.texts())
    assert data.pipes() == []


def test_shards_that_match_nothing(tmp_path):
    with pytest.raises(DataError, match="match nothing"):
        build(ShardsConfig(train=[str(tmp_path / "*.tar")]), cache=tmp_path).prepare()


def test_pipes_are_streamed(tmp_path):
    paths = write(tmp_path, 6, shards=2)
    data = build(ShardsConfig(train=[f"pipe:cat {path}" for path in paths]), cache=tmp_path)
    data.prepare()
    assert data.pipes() == [f"pipe:cat {path}" for path in paths]
    assert list(data.texts()) == []
    assert data.validation() is None


def test_pipes_make_steps(tmp_path):
    from tests.data.talking import settings
    from vxl.train.step.data_module import DataModule

    paths = write(tmp_path, 8, shards=2)
    config = ShardsConfig(train=[f"pipe:cat {path}" for path in paths], batch=2, bucket=4, workers=0)
    module = DataModule(settings(tmp_path, config))
    first = next(iter(module.train_dataloader()))
    module.consumed(first)
    again = DataModule(settings(tmp_path, config))
    again.load_state_dict(module.state_dict())
    loader = iter(DataModule(settings(tmp_path, config)).train_dataloader())
    next(loader)
    assert [b.keys for b in next(iter(again.train_dataloader()))] == [b.keys for b in next(loader)]


def test_pipes_and_files_do_not_mix():
    with pytest.raises(ConfigError, match="either pipes or files"):
        ShardsConfig(train=["pipe:cat a.tar", "b.tar"])
    with pytest.raises(ConfigError, match="val holds a pipe"):
        ShardsConfig(train=["b.tar"], val=["pipe:cat a.tar"])
    with pytest.raises(ConfigError, match="can't hold pipes"):
        SourceConfig(shards=["pipe:cat a.tar"])


def test_json(tmp_path):
    train = write_json(tmp_path / "t.json", [{"id": "a", **talk()}, {"id": "b", **talk()}])
    val = write_json(tmp_path / "v.json", [{"id": "c", **talk()}])
    config = JsonConfig(json=str(train), videos=str(tmp_path), val=str(val))
    data = build(config, cache=tmp_path / "cache")
    data.prepare()
    assert keys(data.training(0).sources["json"]) == ["a", "b"]
    assert keys(data.validation()) == ["c"]
    assert list(data.texts()) == ["What happens?", "It gets brighter."] * 2


def test_mixture(tmp_path):
    write(tmp_path, 4)
    listed = write_json(tmp_path / "t.json", [{"id": "a", **talk()}, {"id": "b", **talk()}])
    config = rebuild(
        DataConfig,
        {
            "_target_": "vxl.data.mixture.Mixed",
            "sources": {
                "films": {"shards": [str(tmp_path / "*.tar")], "weight": 3},
                "own": {"json": str(listed), "videos": str(tmp_path), "weight": 1},
            },
        },
    )
    data = build(config, cache=tmp_path / "cache")
    data.prepare()
    names = [name for name, _ in data.training(0).span(0, 400)]
    assert abs(names.count("films") - 300) <= 1
    assert data.validation() is None
    assert len(list(data.texts())) == 12


def test_a_mixture_without_weights_takes_all_samples_alike(tmp_path):
    write(tmp_path, 6)
    write(tmp_path, 2, first="t")
    config = MixtureConfig(
        sources={name: SourceConfig(shards=[str(tmp_path / f"{name}-*.tar")]) for name in "st"}
    )
    names = [name for name, _ in build(config, cache=tmp_path / "cache").training(0).span(0, 80)]
    assert abs(names.count("s") - 60) <= 1


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "sources is empty"),
        (
            {"a": {"shards": ["a.tar"], "weight": 1}, "b": {"shards": ["b.tar"]}},
            r"data\.sources\.b\.weight=1",
        ),
        ({"a": {}}, "allowed: shards, or json and videos"),
        ({"a": {"json": "a.json"}}, "allowed: shards, or json and videos"),
        ({"a": {"shards": ["a.tar"], "weight": 0}}, "weight=0.0 is not positive"),
        ({"a": {"shrads": ["a.tar"]}}, r"did you mean sources\.a\.shards"),
    ],
)
def test_mixtures_that_make_no_sense(sources, message):
    with pytest.raises(ConfigError, match=message):
        rebuild(DataConfig, {"_target_": "vxl.data.mixture.Mixed", "sources": sources})


def test_a_mixture_takes_parts_below_a_root(tmp_path, caplog):
    for name in ("a", "b"):
        write_json(tmp_path / f"{name}.json", [talk()] * 10)
    sources = {
        "a": SourceConfig(json="a.json", videos=".", take="first:3", samples=10),
        "b": SourceConfig(json="b.json", videos=".", take="random:50%", samples=20),
    }
    data = build(MixtureConfig(sources=sources, root=str(tmp_path)), cache=tmp_path / "cache")
    found = data.training(0).sources
    assert [len(found[name]) for name in sources] == [3, 5]
    assert "source b has 10 samples; about 20 are published" in caplog.text
    assert "source a" not in caplog.text
    assert data.training(0).fingerprint().keys() == sources.keys()


@pytest.mark.parametrize(
    "path", [path for path in FILES if "sources:\n" in path.read_text()], ids=lambda p: p.stem
)
def test_the_data_of_a_published_stage_says_what_is_missing_and_where_it_comes_from(path, tmp_path):
    config = rebuild(MixtureConfig, yaml.safe_load(path.read_text()) | {"root": str(tmp_path)}, "data")
    with pytest.raises(DataError) as missing:
        build(config, cache=tmp_path).prepare()
    text = str(missing.value)
    first = next(iter(config.sources))
    assert text.startswith(f"{2 * len(config.sources)} lists and folders of data.sources are not there:")
    assert f"{first}: {tmp_path}/{first}.json  (from {config.sources[first].origin})" in text
    assert f"'~data.sources.{first}'" in text
    assert len(text.splitlines()) <= 18
