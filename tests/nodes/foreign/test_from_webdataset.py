"""FromWebDataset over pipelines that webdataset itself runs, and over tars: shares, seeds, and a resume everywhere."""

import gc
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.utils.data
import webdataset as wds
from PIL import Image

from wdstream.errors import ConfigError, PlanError, RowError, ShardError, StateError
from wdstream.nodes import Decode, FromWebDataset
from wdstream.records import World
from wdstream.testing import assert_resumes_exactly

COUNT = 4


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five tars of 2 to 4 samples."""
    folder = tmp_path_factory.mktemp("tars")
    image = io.BytesIO()
    Image.new("RGB", (30, 20)).save(image, "PNG")
    for shard in range(5):
        with wds.TarWriter(str(folder / f"{shard}.tar")) as writer:
            for number in range(2 + shard % 3):
                writer.write({"__key__": f"{shard}-{number}", "png": image.getvalue(), "txt": f"text {shard}-{number}"})
    return [str(folder / f"{shard}.tar") for shard in range(5)]


def keys_of(node: Any) -> list[str]:
    return [sample["__key__"] for sample in node]


ALL = ["0-0", "0-1", "1-0", "1-1", "1-2", "2-0", "2-1", "2-2", "2-3", "3-0", "3-1", "4-0", "4-1", "4-2"]


def number_of(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "number": int(sample["__key__"][0])}


PIPELINES: dict[str, Callable[[list[str]], Any]] = {
    "plain": lambda urls: wds.WebDataset(urls, shardshuffle=False).map(number_of),
    "shuffled": lambda urls: wds.WebDataset(urls, shardshuffle=3).shuffle(4, initial=2).decode("pil"),
    "detshuffled": lambda urls: wds.WebDataset(urls, shardshuffle=3, detshuffle=True),
    "own stages": lambda urls: wds.DataPipeline(
        wds.SimpleShardList(urls), wds.split_by_node, wds.tarfile_to_samples(), wds.detshuffle(5)
    ),
    "tuples": lambda urls: wds.WebDataset(urls, shardshuffle=False).to_tuple("txt", "png"),
    "chosen": lambda urls: wds.WebDataset(urls, shardshuffle=False).select(lambda s: s["__key__"][-1] != "1"),
    "resampled": lambda urls: wds.WebDataset(urls, resampled=True, shardshuffle=False).with_epoch(9),
    "repeated": lambda urls: wds.WebDataset(urls, shardshuffle=2).repeat(2),
    "batches": lambda urls: wds.WebDataset(urls, shardshuffle=False).listed(3),
    "two in turn": lambda urls: wds.DataPipeline(
        wds.RoundRobin([wds.WebDataset(urls[:2], shardshuffle=2), wds.WebDataset(urls[2:], shardshuffle=False)], True)
    ),
    "addresses": lambda urls: urls,
    "a folder": lambda urls: str(Path(urls[0]).parent),
    "braces": lambda urls: f"{Path(urls[0]).parent}/{{0..4}}.tar",
}


@pytest.fixture(autouse=True)
def tars_left_open() -> Iterator[None]:
    """`tarfile_to_samples` opens tars by itself, and leaves them to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.parametrize("name", PIPELINES)
def test_resumes_after_every_sample(tars: list[str], name: str) -> None:
    """Each time a pipeline that is made again, as another process would make it."""
    items = assert_resumes_exactly(lambda: FromWebDataset(PIPELINES[name](tars), seed=7))
    assert len(items) == {"chosen": 9, "resampled": 9, "repeated": 28, "batches": 5}.get(name, 14)


@pytest.mark.parametrize("name", sorted(PIPELINES.keys() - {"resampled", "batches", "tuples"}))
def test_ranks_share_the_shards_without_a_sample_lost_or_twice(tars: list[str], name: str) -> None:
    size = 2 if name == "two in turn" else 3
    shares = [
        keys_of(FromWebDataset(PIPELINES[name](tars), world=World(rank=rank, size=size), seed=1))
        for rank in range(size)
    ]
    found = sorted(key for share in shares for key in share)
    expected = sorted(key for key in ALL if name != "chosen" or key[-1] != "1")
    assert found == sorted(expected * (2 if name == "repeated" else 1))
    assert all(shares)


def test_epochs_have_orders_of_their_own_by_the_seed(tars: list[str]) -> None:
    def epochs(seed: int) -> list[list[str]]:
        node = FromWebDataset(PIPELINES["shuffled"](tars), seed=seed)
        found = []
        for _ in range(2):
            node.reset()
            found.append(keys_of(node))
        return found

    one, two = epochs(1)
    assert one != two and sorted(one) == sorted(two) == ALL
    assert epochs(1) == [one, two]
    assert epochs(2)[0] != one
    node = FromWebDataset(PIPELINES["shuffled"](tars), seed=1)
    node.reset()
    keys_of(node)
    node.reset()
    state = (next(node), node.state_dict())[1]
    later = FromWebDataset(PIPELINES["shuffled"](tars), seed=1)
    later.reset(state)
    assert keys_of(later) == two[1:]


def test_the_ranks_of_torchrun(tars: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert keys_of(FromWebDataset(PIPELINES["plain"](tars))) == [key for key in ALL if key[0] in "13"]
    assert keys_of(FromWebDataset(PIPELINES["own stages"](tars), world=World())) != ALL


class Keys(torch.utils.data.IterableDataset[str]):
    """The keys of nodes that were made in the main process."""

    def __init__(self, *nodes: Any) -> None:
        self.nodes = nodes

    def __iter__(self) -> Iterator[str]:
        for node in self.nodes:
            node.reset()
            yield from keys_of(node)


def test_workers_of_a_dataloader_have_shares_of_their_own(tars: list[str]) -> None:
    """Also where the node was made before them; in each epoch, in the main process after them, and on two ranks."""
    nodes = [FromWebDataset(PIPELINES[name](tars), seed=7, world=World()) for name in ("shuffled", "addresses")]
    nodes += [FromWebDataset(PIPELINES["plain"](tars), world=World(rank=rank, size=2)) for rank in range(2)]
    loader = torch.utils.data.DataLoader(Keys(*nodes), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(loader) == sorted(loader) == sorted(ALL * 3)
    assert sorted(Keys(*nodes)) == sorted(ALL * 3)


def test_another_share_and_other_tars_are_refused(tars: list[str]) -> None:
    for name in ("plain", "addresses"):
        node = FromWebDataset(PIPELINES[name](tars), world=World(rank=0, size=2))
        next(node)
        state = node.state_dict()
        other = FromWebDataset(PIPELINES[name](tars), world=World(rank=1, size=2))
        with pytest.raises(StateError, match=r"that of share 0 of 2 of the shards, this is share 1 of 2"):
            other.reset(state)
        other = FromWebDataset(PIPELINES[name](tars[::-1]), world=World(rank=0, size=2))
        with pytest.raises(
            StateError, match=r"that of other tars|last one was '0-0 of 0.tar', and is '4-0 of 4.tar' now"
        ):
            other.reset(state)
            next(other)
        with pytest.raises(PlanError, match=r"5 (shards|tars) for 6 ranks and workers"):
            FromWebDataset(PIPELINES[name](tars), world=World(rank=0, size=6))


def test_the_state_of_another_kind_is_refused(tars: list[str]) -> None:
    """Never a start from the beginning."""
    states: dict[str, Any] = {"nothing": {}, "a list": {"share": [0, 1], "epoch": 0, "source": []}}
    for name in ("plain", "addresses"):
        node = FromWebDataset(PIPELINES[name](tars))
        next(node)
        states[name] = node.state_dict()
    for name, others in (("plain", ["addresses", "nothing", "a list"]), ("addresses", ["plain", "nothing", "a list"])):
        for other in others:
            with pytest.raises(StateError, match="so it is that of another node, or of tars"):
                FromWebDataset(PIPELINES[name](tars)).reset(states[other])


def test_a_splitter_of_ones_own_never_deals_a_second_time(tars: list[str]) -> None:
    def mine(shards: Iterator[Any]) -> list[Any]:
        return list(shards)[1::3]

    def node(rank: int, size: int, **options: Any) -> Any:
        pipeline = wds.WebDataset(tars, shardshuffle=2, nodesplitter=mine)
        return FromWebDataset(pipeline, world=World(rank=rank, size=size), **options)

    with pytest.raises(
        ConfigError, match=r"mine of the pipeline comes before its shards .* share=.own. where it takes"
    ):
        node(1, 3)
    assert sorted(keys_of(node(1, 3, share="own"))) == sorted(keys_of(node(0, 1))) == [k for k in ALL if k[0] in "14"]


def test_paths_are_addresses(tars: list[str]) -> None:
    assert keys_of(FromWebDataset(Path(tars[0]))) == ["0-0", "0-1"]
    assert keys_of(FromWebDataset([Path(tar) for tar in tars])) == ALL


def test_a_pipeline_that_changed_is_an_error(tars: list[str]) -> None:
    node = FromWebDataset(PIPELINES["plain"](tars))
    for _ in range(12):
        next(node)
    state = node.state_dict()
    changed = FromWebDataset(PIPELINES["chosen"](tars))
    changed.reset(state)
    with pytest.raises(StateError, match="after 12 samples of this epoch, and the pipeline gives only 9 now"):
        next(changed)


def test_what_cannot_be_the_same_again_is_refused(tars: list[str]) -> None:
    plain = wds.WebDataset(tars, shardshuffle=False)
    for pipeline, message in (
        (plain.rsample(0.5), "rsample draws from a generator without a seed"),
        (wds.DataPipeline(wds.RandomMix([plain, plain])), "RandomMix draws from a generator"),
        (wds.WebLoader(plain, batch_size=None), "a DataLoader has processes of its own"),
    ):
        with pytest.raises(ConfigError, match=message):
            FromWebDataset(pipeline)
    with pytest.raises(TypeError, match=r"an iterable is a pipeline as webdataset\.DataPipeline\("):
        FromWebDataset(wds.RoundRobin([plain]))
    for nothing in (3, None, [1], b"x"):
        with pytest.raises(TypeError, match="expected a webdataset pipeline, or addresses of tars"):
            FromWebDataset(nothing)
    with pytest.raises(ShardError, match="no such file"):
        FromWebDataset("/nowhere/x.tar")


class Numbers(torch.utils.data.IterableDataset[dict[str, str]]):
    def __iter__(self) -> Iterator[dict[str, str]]:
        return ({"__key__": str(number)} for number in range(7))


def test_a_source_of_ones_own_is_shared_by_samples(tars: list[str]) -> None:
    def pipeline() -> Any:
        return wds.DataPipeline(Numbers())

    with pytest.raises(
        ConfigError, match=r'begins with Numbers, whose shards cannot be shared out; say share="samples"'
    ):
        FromWebDataset(pipeline(), world=World(rank=0, size=2))
    shares = [keys_of(FromWebDataset(pipeline(), world=World(rank=r, size=2), share="samples")) for r in range(2)]
    assert shares == [["0", "2", "4", "6"], ["1", "3", "5"]]
    assert keys_of(FromWebDataset(pipeline(), world=World(rank=1, size=2), share="own")) == list("0123456")
    assert_resumes_exactly(lambda: FromWebDataset(pipeline(), world=World(rank=1, size=2), share="samples"))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


def test_no_pickle_is_run(tmp_path: Path) -> None:
    for name in ("pyd", "pkl", "pth", "x.pickle"):
        path = str(tmp_path / "p.tar")
        with wds.TarWriter(path, encoder=False) as writer:
            writer.write({"__key__": "a", name: pickle.dumps(Bomb()), "txt": b"t"})
        (sample,) = FromWebDataset([path])
        assert sample == {"__key__": "a", "__url__": path, name: pickle.dumps(Bomb()), "txt": b"t"}
        for decoded in (
            wds.WebDataset(path, shardshuffle=False).decode(),
            wds.WebDataset(path, shardshuffle=False).decode("pil"),
        ):
            with pytest.raises(ConfigError, match=r"sample 'a' has the part .* decode\(\) would unpickle"):
                next(FromWebDataset(decoded))


def test_faults_and_damage(tmp_path: Path, tars: list[str]) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(Path(tars[2]).read_bytes()[:2000])
    with pytest.raises(RowError, match="the rest of the tar, from byte 0 on, is passed over"):
        list(FromWebDataset([str(cut)]))
    assert keys_of(FromWebDataset([str(cut), tars[0]], on_error="skip")) == keys_of(FromWebDataset([tars[0]]))
    with pytest.raises(ShardError):
        list(FromWebDataset(wds.WebDataset(str(cut), shardshuffle=False)))

    def fails(sample: dict[str, Any]) -> dict[str, Any]:
        return {"length": len(sample["nothing"])}

    with pytest.raises(KeyError) as caught:
        list(FromWebDataset(wds.WebDataset(tars, shardshuffle=False).map(fails)))
    assert caught.value.__notes__[-1] == "in the pipeline of FromWebDataset, after sample None"


def test_links_are_faults_of_their_samples(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "b.png"
        tar.addfile(link)
        info = tarfile.TarInfo("b.txt")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"b"))
    with pytest.raises(RowError, match=r"sample 'a' of .*x.tar: its part 'png' is a symbolic link"):
        next(FromWebDataset([str(tmp_path / "x.tar")]))
    assert keys_of(FromWebDataset([str(tmp_path / "x.tar")], on_error="skip")) == ["b"]


def test_decode_takes_what_comes_out(tars: list[str]) -> None:
    for name in ("plain", "shuffled", "addresses"):
        pages = list(Decode(FromWebDataset(PIPELINES[name](tars), seed=3)))
        assert len(pages) == 14 and all(page.images[0].shape == (20, 30, 3) for page in pages)
