"""Exported models: plain transformers and peft, in another process and folder, write what the run wrote.

Spans: train, runs.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from tests.helpers.command import run as wdstream
from tests.helpers.exported import written_by_plain_models, written_by_run
from tests.helpers.full_disk import no_file_over
from tests.helpers.hub_server import HubServer
from tests.helpers.training import Workplace
from wdstream.errors import ConfigError, FamilyError, TrainError, file_trouble
from wdstream.runs.checkpoint import Retention, begin_checkpoint, finish_checkpoint, partial_path, read_checkpoint
from wdstream.runs.record import read_run
from wdstream.train.saving.export_run import export_run, merge_adapter
from wdstream.train.saving.exported import read_exported

EVALUATED = ("train.generate={max_pages: 2, max_new_tokens: 8}", "train.eval_every=1", "train.checkpoint_every=1")
KINDS = {
    "full": ("train.lr=0.05",),
    "lora": ("train.adapter={kind: lora, r: 4}", "train.lr=0.02"),
    "qlora": ("train.adapter={kind: qlora, r: 4}", "train.lr=0.05"),
    "half": ("train.lr=0.003", "model.dtype=bfloat16", "data.eval=[]", "train.generate=null", "train.max_steps=1"),
}


class Trained(dict[str, Path]):
    """Kind of training -> a run of two steps, evaluated and saved after each."""

    def __init__(self, workplace: Workplace) -> None:
        super().__init__()
        self._workplace = workplace

    def __missing__(self, kind: str) -> Path:
        self[kind] = self._workplace.root / f"to-export-{kind}"
        assert self._workplace.train(self[kind], "train.max_steps=2", *EVALUATED, *KINDS[kind]) == 0
        return self[kind]


@pytest.fixture(scope="module")
def trained(workplace: Workplace) -> Trained:
    return Trained(workplace)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


@pytest.mark.slow
def test_plain_models_write_what_the_run_wrote(trained: Trained, tmp_path: Path) -> None:
    full, lora = trained["full"], trained["lora"]
    made = {name: tmp_path / name for name in ("full", "full-first", "adapter", "merged")}
    assert str(export_run(full, made["full"])) == f"a model in float32, of {full}, step 2, in {made['full']}"
    export_run(full, made["full-first"], step="1")
    export_run(lora, made["adapter"])
    assert export_run(lora, made["merged"], merge=True).what == "a merged model"
    folders = [full / "final", lora / "final", *made.values()]
    written = written_by_plain_models(read_run(full).config, folders, tmp_path / "plain")
    assert written[full / "final"] == written[made["full"]] == written_by_run(full, 2)
    assert written[made["full-first"]] == written_by_run(full, 1)
    assert written[lora / "final"] == written[made["adapter"]] == written[made["merged"]] == written_by_run(lora, 2)
    assert len({*map(tuple, (written[folder] for folder in made.values()))}) == 3


def test_a_folder_is_what_final_is(trained: Trained, tmp_path: Path) -> None:
    for kind in ("full", "lora"):
        export_run(trained[kind], tmp_path / kind)
        final = {path.name: path.read_bytes() for path in (trained[kind] / "final").iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / kind).iterdir()} == final
        assert {*final} >= {"tokenizer.json", "preprocessor_config.json", "chat_template.jinja", "README.md"}
    assert {*final} >= {"adapter_config.json", "adapter_model.safetensors"}


def test_merging_by_folder_is_merging_by_run(trained: Trained, tmp_path: Path) -> None:
    export_run(trained["lora"], tmp_path / "run", merge=True)
    merge_adapter(trained["lora"] / "final", tmp_path / "folder")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names - {path.name for path in (tmp_path / "folder").iterdir()} == {"README.md"}
    for name in ("model.safetensors", "config.json", "wdstream_run.json", "generation_config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()


@pytest.mark.slow
def test_what_was_trained_over_four_bits_writes_what_the_run_wrote(trained: Trained, tmp_path: Path) -> None:
    run = trained["qlora"]
    export_run(run, tmp_path / "merged", merge=True)
    folders = [run / "final", tmp_path / "merged"]
    written = written_by_plain_models(read_run(run).config, folders, tmp_path / "plain")
    assert [written[folder] for folder in folders] == [written_by_run(run, 2)] * 2
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config


@pytest.mark.slow
def test_weights_and_config_have_one_dtype(trained: Trained, tmp_path: Path) -> None:
    run = trained["half"]
    for folder, dtype in ((run / "final", "bfloat16"), (tmp_path / "own", "bfloat16"), (tmp_path / "f16", "float16")):
        if folder.parent == tmp_path:
            export_run(run, folder, dtype=None if folder.name == "own" else "float16")
        config = json.loads((folder / "config.json").read_text())
        assert {config["dtype"], config["text_config"]["dtype"], config["vision_config"]["dtype"]} == {dtype}
        assert config.get("use_cache") is None
        assert {tensor.dtype for tensor in tensors(folder).values()} == {getattr(torch, dtype)}


def test_what_an_adapter_says_of_its_base(trained: Trained, workplace: Workplace, tmp_path: Path) -> None:
    run, settings = trained["lora"], "adapter_config.json"
    base = json.loads((run / "final" / settings).read_text())["base_model_name_or_path"]
    assert base == str(workplace.root / "model")
    export_run(run, tmp_path / "named", base="org/model", dtype="bfloat16")
    assert json.loads((tmp_path / "named" / settings).read_text())["base_model_name_or_path"] == "org/model"
    assert {tensor.dtype for tensor in tensors(tmp_path / "named").values()} == {torch.bfloat16}
    with pytest.raises(TrainError, match=r"its base 'org/model' is not a model folder of this machine; .*--base PATH"):
        merge_adapter(tmp_path / "named", tmp_path / "merged")
    merge_adapter(tmp_path / "named", tmp_path / "merged", base=workplace.root / "model")


def test_the_model_card_says_what_was_done(trained: Trained, tmp_path: Path) -> None:
    export_run(trained["lora"], tmp_path / "out", step="newest", base="org/model")
    card = (tmp_path / "out" / "README.md").read_text()
    run = json.loads((trained["lora"] / "run.json").read_text())
    for part in (
        'base_model: "org/model"',
        "library_name: peft",
        f"| `shards` | {run['data']['shards']['pages']} | `",
        "| steps | 2 |",
        "at most 1,024 tokens and 2,048 patches; pool 16",
        '"kind": "grid"',
        "| `held_out` | 2 | 6.",
        f"torch {torch.__version__}",
        *run["fingerprints"].values(),
    ):
        assert part in card
    exported = read_exported(tmp_path / "out")
    assert exported is not None
    assert (exported.base, exported.step, exported.is_merged) == ("org/model", 2, False)
    assert str(tmp_path.parent) not in (tmp_path / "out" / "wdstream_run.json").read_text()


def test_the_commands(trained: Trained, tmp_path: Path) -> None:
    run, out = trained["lora"], tmp_path / "out"
    done = wdstream("model", "export", run, out, "--step", "1")
    assert (done.returncode, done.stdout) == (0, f"an adapter in float32, of {run}, step 1, in {out}\n")
    again = wdstream("model", "export", run, out)
    assert (again.returncode, again.stderr) == (
        2,
        f"wdstream: {out}: not empty; remove it, or name another folder for the model\n",
    )
    merged = wdstream("model", "merge", out, tmp_path / "merged", "--dtype", "bfloat16")
    assert merged.stdout.startswith("a merged model in bfloat16, of ")
    pushed = wdstream("model", "export", run, tmp_path / "pushed", "--push", "org/model")
    assert (pushed.returncode, not (tmp_path / "pushed").exists()) == (2, True)
    assert "HF_HUB_OFFLINE is set, so no hub is asked" in pushed.stderr


@pytest.mark.filterwarnings("ignore:Use 'content=")  # how huggingface_hub sends a large file
def test_the_command_uploads_what_it_wrote(hub: HubServer, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = wdstream("model", "export", trained["lora"], out, "--push", "org/model")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.url}/org/model/commit/{'0' * 40}"
    assert hub.private == {"org/model": True} and len(hub.large) == 1
    assert hub.repositories["org/model"].pop(".gitattributes")
    written = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert hub.repositories["org/model"] == written


def test_refusals(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--merge: .* trained no adapter, but all weights"):
        export_run(trained["full"], tmp_path / "out", merge=True)
    with pytest.raises(TrainError, match=r"there is no such checkpoint; there are those of the steps 1, 2"):
        export_run(trained["lora"], tmp_path / "out", step="7")
    with pytest.raises(TrainError, match=r"not the folder of an adapter: adapter_config.json cannot be read"):
        merge_adapter(trained["full"] / "final", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_of_the_folder_in_one_line_and_nothing_else_is_printed(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """safetensors raises an error of its own, and transformers draws a bar for what it writes."""
    out = tmp_path / "out"
    with no_file_over(30_000), pytest.raises(OSError, match="File too large") as raised:
        export_run(trained["full"], out)
    assert (
        file_trouble(raised.value) == f"{out}: File too large; make room there, or raise the limit (quota, ulimit -f)"
    )
    assert not out.exists()
    export_run(trained["full"], out)
    assert (out / "model.safetensors").stat().st_size > 30_000
    assert capfd.readouterr() == ("", "")


def test_places_where_no_model_can_be(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, file = shutil.copytree(trained["full"], tmp_path / "run"), tmp_path / "file"
    file.touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    shutil.rmtree(run / "final")
    for out in (file, tmp_path / "link"):
        with pytest.raises(ConfigError, match="a file or a link is there"):
            export_run(run, out)
    for out in (run / "final", run / "checkpoints" / "step-00000009"):
        with pytest.raises(ConfigError, match="are the run's own"):
            export_run(run, out)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="the folder that the command runs in"):
        export_run(run, Path())


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"path": "/nowhere"}, "began from the model folder /nowhere, which is not there"),
        ("train", {"optimizer": "schedule_free", "schedule": "constant"}, "train.optimizer is schedule_free"),
    ],
)
def test_runs_without_a_model(
    section: str, changes: dict[str, str], message: str, trained: Trained, tmp_path: Path
) -> None:
    run = shutil.copytree(trained["full"], tmp_path / "run")
    tree = json.loads((run / "run.json").read_text())
    tree["config"][section].update(changes)
    (run / "run.json").write_text(json.dumps(tree))
    with pytest.raises(TrainError, match=message):
        export_run(run, tmp_path / "out")
    (run / "checkpoints" / "step-00000002" / "manifest.json").write_text('{"version": 1}')
    with pytest.raises(TrainError, match=r"manifest.json: lacks files, step, world_size"):
        read_checkpoint(run / "checkpoints" / "step-00000002")


def test_a_damaged_adapter_is_refused(trained: Trained, tmp_path: Path) -> None:
    source = shutil.copytree(trained["lora"] / "final", tmp_path / "adapter")
    (source / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(TrainError, match=r"adapter_model.safetensors: damaged"):
        merge_adapter(source, tmp_path / "out")


def test_what_half_precision_cannot_hold_is_refused(trained: Trained, tmp_path: Path) -> None:
    source = shutil.copytree(trained["lora"] / "final", tmp_path / "adapter")
    state = load_file(source / "adapter_model.safetensors")
    state[next(iter(state))][0, 0] = 1e6
    save_file(state, source / "adapter_model.safetensors")
    with pytest.raises(FamilyError, match="with values that are not finite"):
        merge_adapter(source, tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists()


def test_shards_of_fsdp_are_put_together(trained: Trained, tmp_path: Path) -> None:
    run, work = trained["full"], tmp_path / "run"
    shutil.copytree(run, work)
    (newest,) = (work / "checkpoints").glob("step-*2")
    checkpoint, state = read_checkpoint(newest), load_file(newest / "model.safetensors")
    shutil.rmtree(newest)
    begin_checkpoint(newest)
    with pytest.warns(UserWarning, match="in a single process"):
        save_shards({"model": state}, checkpoint_id=partial_path(newest) / "pytorch_model_fsdp_0", no_dist=True)
    finish_checkpoint(checkpoint, measured=[], keep=Retention(newest=9))
    export_run(work, tmp_path / "out")
    for name, tensor in tensors(tmp_path / "out").items():
        assert torch.equal(tensor, tensors(run / "final")[name])
    (newest / "pytorch_model_fsdp_0" / ".metadata").unlink()
    with pytest.raises(TrainError, match=r"\.metadata: expected .* found no file"):
        export_run(work, tmp_path / "again")
    manifest = newest / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": {}}))
    with pytest.raises(TrainError, match=r"in a form that one process cannot put together \(manifest.json, pytorch"):
        export_run(work, tmp_path / "again")
