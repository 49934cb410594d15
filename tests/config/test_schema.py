"""The configuration: what is accepted, and what a mistake is answered with."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wdstream.config.other_names import OTHER_NAMES
from wdstream.config.schema import TilingConfig, load_config
from wdstream.errors import ConfigError

MINIMAL = "model: {path: models/tiny}\ndata: {train: [{path: shards}]}\n"


def minimal_with(extra: str) -> str:
    """MINIMAL with the sections of `extra`, which are in place of its own."""
    own = [line for line in MINIMAL.splitlines(keepends=True) if line.partition(":")[0] not in extra.split(":")[0]]
    return "".join(own) + extra


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cfg.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.data.sequence_length == 8192
    assert config.data.max_patches == 40_000
    assert config.data.train[0].path == "shards"
    assert config.tiling.kind == "adaptive"
    assert config.train.micro_batch_size == 1
    assert config.model.attn == "sdpa"


def test_overrides_are_yaml(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ("train.lr=3e-5", "tiling.grid=[3, 2]", "data.seed=7"))
    assert (config.train.lr, config.tiling.grid, config.data.seed) == (3e-5, (3, 2), 7)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("tiling: {tile_sise: 3}", "tiling.tile_sise: unknown key; known keys: grid, "),
        ("train: {learning_rate: 1}", "train.learning_rate: unknown key; the setting here is train.lr"),
        ("gradient_accumulation_steps: 4", "unknown key; the setting here is data.global_batch_size: packs"),
        ("train: {adapter: {lora_r: 8}}", "train.adapter.lora_r: unknown key; the setting here is train.adapter.r"),
        ("train: {warmup_step: 8}", "z_loss; did you mean warmup_steps?"),
        ("trian: {}", "trian: unknown key; known keys: data, model, text, tiling, train"),
        (
            "train: {adapter: {rank: 3, kindd: lora}}",
            "train.adapter.kindd: unknown key; known keys: alpha, alpha_pattern, dora, double_quant, ",
        ),
        ("data: {train: [{path: a}], tail: cut}", "data.tail: expected 'wrap', 'drop' or 'pad', found 'cut'"),
        ("data: {train: [{path: a}], where: a <}", "data.where: 'a <' is not an expression"),
        ("model: {}", "model.path: missing"),
        ("train: {lr: fast}", "train.lr: expected a number, found 'fast'"),
        (
            "data: {train: [{}]}",
            "data.train[0]: give either path, a folder of shards, or datasets, a mix of several",
        ),
        (
            "data: {train: [{path: a}], streaming: {}}\ntrain: {peak_tflops: 9}",
            "train.peak_tflops would be ignored with data.streaming",
        ),
        ("data: {train: [{path: a}], streaming: {}, where: x}", "data: streaming reads tars without an index, so it"),
        ("model: tiny", "model: expected keys with their values; known keys: allow_missing, "),
        ("model: tiny", "path, found 'tiny'"),
        (
            "train: {adapter: lora}",
            "train.adapter: expected keys with their values; known keys: alpha, alpha_pattern, dora, double_quant, ",
        ),
        ("data: [1]", "data: expected keys with their values; known keys: "),
        ("data: {train: shards}", "data.train: expected a list, found 'shards'"),
        ("tiling: {grid: 3}", "tiling.grid: expected a list, found 3"),
        ("model: {path: 3}", "model.path: expected a path, found 3"),
        ("data: {train: [{path: a, weight: .inf}]}", "data.train[0].weight: expected a finite number, found inf"),
        ("train: {max_grad_norm: .inf}", "train.max_grad_norm: expected a finite number, found inf"),
        ("train: {seed: 4294967296}", "train.seed: expected less than 4294967296, found 4294967296"),
        ("train: {micro_batch_size: yes}", "train.micro_batch_size: expected a number, found True"),
        ("train: {micro_batch_size: 0}", "train.micro_batch_size: expected greater than 0, found 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, extra: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, minimal_with(extra)))
    assert expected in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_a_color_is_recorded_as_three_numbers(tmp_path: Path) -> None:
    """Without a word from pydantic: every run writes its configuration as JSON."""
    tiling = "tiling: {pad_color: red, shape_buckets: [{grid: [1, 2], pad_color: '#0000ff'}]}\n"
    record = load_config(write(tmp_path, MINIMAL + tiling)).model_dump(mode="json")
    assert record["tiling"]["pad_color"] == [255, 0, 0]
    assert record["tiling"]["shape_buckets"][0]["pad_color"] == [0, 0, 255]


def test_a_transform_is_read_again_from_what_a_run_records() -> None:
    recorded = TilingConfig.model_validate({"transform": "halves", "settings": {"columns": 2}}).model_dump(mode="json")
    assert TilingConfig.model_validate(recorded).model_dump(mode="json") == recorded


def test_unknown_key_inside_a_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train\[0\]\.pth: unknown key; known keys: datasets, epochs"):
        load_config(write(tmp_path, "model: {path: m}\ndata: {train: [{path: s, pth: t}]}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2]", "expected sections model:, data:, text:, tiling:, train:, found list"),
        ("a: [", "not valid YAML"),
        ("model: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("", "found nothing"),
    ],
)
def test_not_a_configuration(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "none.yaml")


def test_a_configuration_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_bytes(MINIMAL.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"cfg.yaml: not text in UTF-8 .*; save it as UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    "override",
    ["train.lr", "train.lr.x=3", "data.where=[", "data.where=\x1b[2J", "train.lr=2001-99-99", "train.lr=" + "[" * 5000],
)
def test_bad_override(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(write(tmp_path, MINIMAL + "train: {lr: 1.0}"), (override,))


def test_mixes_may_be_nested(tmp_path: Path) -> None:
    text = MINIMAL.replace("{path: shards}", "{path: a, weight: 1}, {name: web, weight: 2, datasets: [{path: b}]}")
    train = load_config(write(tmp_path, text)).data.train
    assert (train[0].path, train[1].path, train[1].datasets[0].path) == ("a", "", "b")


@pytest.mark.parametrize("entry", ["{name: web}", "{path: a, datasets: [{path: b}]}"])
def test_a_dataset_is_shards_or_a_mix(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match="give either path, a folder of shards, or datasets"):
        load_config(write(tmp_path, MINIMAL.replace("{path: shards}", entry)))


@pytest.mark.parametrize(
    ("key", "extra"),
    [
        ("train.output", "train: {output: 's3://bucket/x'}\n"),
        ("model.path", ""),
        ("data.cache.path", ""),
        ("data.tile_cache.path", ""),
    ],
)
def test_a_url_where_a_local_path_is_needed_is_an_error(tmp_path: Path, key: str, extra: str) -> None:
    overrides = {"model.path": ("model.path=s3://bucket/x",)}.get(
        key, () if extra else (f"{key.removesuffix('.path')}={{path: 's3://bucket/x', max_bytes: 100000}}",)
    )
    with pytest.raises(ConfigError, match=rf"{key}: expected a path of this machine, found a URL \(s3:\)"):
        load_config(write(tmp_path, MINIMAL + extra), overrides)


def test_home_and_variables_in_paths_are_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("DATA", "/data")
    overrides = ("train.output=~/run", "data.train=[{path: $DATA/a}, {path: 's3://b/${DATA}'}]", "model.path=~/m")
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert (config.train.output, config.model.path) == (Path("/home/u/run"), Path("/home/u/m"))
    assert [dataset.path for dataset in config.data.train] == ["/data/a", "s3://b//data"]


def test_a_variable_that_is_not_set_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    for key in ("train.output=$NOWHERE/x", "data.train=[{path: '${NOWHERE}/x'}]"):
        with pytest.raises(ConfigError, match=r"\$\{?NOWHERE\}? in '.*' is not set in the environment"):
            load_config(write(tmp_path, MINIMAL), (key,))
    with pytest.raises(ConfigError, match="there is no home folder ~nobody-of-this-name"):
        load_config(write(tmp_path, MINIMAL), ("train.output=~nobody-of-this-name/x",))


def test_a_command_in_a_path_stays_as_it_is(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ("data.train=[{path: 'pipe:cat $X ~'}]",))
    assert config.data.train[0].path == "pipe:cat $X ~"


@pytest.mark.parametrize(
    ("extra", "key", "lines"),
    [
        ("train: {lr: 1.0e-4}\ntrain: {max_steps: 3}\n", "train", "line 3 and again in line 4"),
        ("data: {seed: 1}\n", "data", "line 2 and again in line 3"),
        ("train: {lr: 1.0e-4, max_steps: 3, lr: 1.0e-5}\n", "lr", "line 3 and again in line 3"),
        ("train:\n  'lr': 1.0e-4\n  lr: 1.0e-5\n", "lr", "line 4 and again in line 5"),
    ],
)
def test_a_key_that_is_given_twice_is_an_error(extra: str, key: str, lines: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cfg.yaml: not valid YAML: the key '{key}' is in {lines}, so that one "):
        load_config(write(tmp_path, MINIMAL + extra))


def test_a_key_of_another_mapping_may_be_given_again(tmp_path: Path) -> None:
    text = (
        "model: {path: models/tiny}\n"
        "data:\n"
        "  train: [&pages {path: a, name: a}, {<<: *pages, name: b, weight: 2}, {<<: [*pages], path: c, name: c}]\n"
        "train: &train {lr: 1.0e-4}\n"
        "tiling: {kind: grid, grid: [2, 3]}\n"
    )
    config = load_config(write(tmp_path, text))
    assert [(one.path, one.name, one.weight) for one in config.data.train] == [
        ("a", "a", None),
        ("a", "b", 2),
        ("c", "c", None),
    ]


@pytest.mark.parametrize(
    ("override", "limit"),
    [
        ("data.sequence_length=1000000000000000000000000000000", "9223372036854775807"),
        ("data.max_patches=1000000000000000000000000000000", "9223372036854775807"),
        ("data.global_batch_size=1000000000000", "1048576"),
        ("tiling.tile_size=1000000000000", "16777216"),
        ("tiling.overview_size=[1000000000000, 8]", "16777216"),
        ("train.adapter={r: 100000}", "65536"),
        ("train.adapter={rank_pattern: {q_proj: 100000}}", "65536"),
    ],
)
def test_numbers_beyond_reason_are_refused(override: str, limit: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"expected less than or equal to {limit}, found 1"):
        load_config(write(tmp_path, MINIMAL), (override,))


def test_a_configuration_from_a_pipe_or_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        config = pool.submit(load_config, tmp_path / "pipe")
        (tmp_path / "pipe").write_text(MINIMAL)
        assert config.result().data.sequence_length == 8192
    with pytest.raises(ConfigError, match=r"/dev/zero: cannot read the configuration \(it has more than 16,777,216 b"):
        load_config(Path("/dev/zero"))
    with pytest.raises(ConfigError, match=r"/dev/null: expected sections model:, .*, found nothing"):
        load_config(Path(os.devnull))


def test_names_of_other_trainers_lead_to_settings_that_exist(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    for other, text in OTHER_NAMES.items():
        for name in re.findall(r"\b(?:model|data|train)(?:\.[a-z_]+)+", text):
            try:
                load_config(path, (f"{name}={{}}",))
            except ConfigError as error:
                assert "unknown key" not in str(error), other
