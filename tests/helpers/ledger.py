"""What a training run leaves, written by the real parts, without a model: data, ledger, quarantine, states."""

from collections.abc import Sequence
from pathlib import Path

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.plan.deal import pages_digest
from wdstream.records import World
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import start_record
from wdstream.train.step.exchange import trained_packs


def write_ledger(folder: Path, config: Config, starts: Sequence[tuple[int, int, int]], *, state_every: int) -> None:
    """Run the data of `config`, 4 packs per step; `starts`: (ranks, first step, step where it is killed) each."""
    plan = plan_from_config(config)
    for world_size, first, stop in starts:
        state = plan.state_after(first - 1).to_json() if first else None
        fingerprints = plan.fingerprints
        record, _ = start_record(
            RunLayout(folder), config, fingerprints=fingerprints, data={}, step=first, world_size=world_size
        )
        worlds = [World(rank=rank, size=world_size) for rank in range(world_size)]
        bad = {page.sample: page.reason for page in record.quarantine.before}
        loaders = [plan.loader(world=world, state=state, workers=0, known_bad=bad) for world in worlds]
        for step in plan.steps(state, world_size=world_size):
            if step.step == stop:
                break
            batches = [next(loader) for loader in loaders for _ in range(4 // world_size)]
            failures = [failure for batch in batches for failure in batch["failures"]]
            record.steps.append(
                {
                    "step": step.step,
                    "digest": pages_digest(trained_packs(batches)),
                    "world_size": world_size,
                    "pages": sum(len(row) for batch in batches for row in batch["keys"]),
                    "supervised": step.num_supervised,
                    "failed": len(failures),
                }
            )
            record.quarantine.add(failures, step=step.step)
            if (step.step + 1) % state_every == 0:
                record.add_state(step.step, loaders[0].state_dict())
        for loader in loaders:
            loader.close()
