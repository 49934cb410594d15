"""The figures of one log line, from the steps since the line before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wdstream.train.contents import Share, StepContents
from wdstream.train.step.exchange import StepFigures

_GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """One step over all ranks.

    Attributes:
        contents: what it held.
        figures: what came out.
        lr: learning rate.
        seconds: from the end of the step before to the end of this one.
        fill_tokens, fill_patches: share of the two budgets that the contents use, 0 to 1.
        is_clipped: the gradient was larger than allowed.
        flops: of the model, over all ranks; None where no plan tells.
        epochs: passes over each dataset until its end, with their parts; none where no plan tells.
        learning: the stage, rates of parts, and the z-loss; empty where there are none.
    """

    contents: StepContents
    figures: StepFigures
    lr: float
    seconds: float
    fill_tokens: float
    fill_patches: float
    is_clipped: bool = False
    flops: float | None = None
    epochs: Mapping[str, float] = field(default_factory=dict)
    learning: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the time since the line before went, apart from the steps themselves; seconds.

    Attributes:
        wall: all of it; None: the steps alone.
        evaluating, saving: what evaluation sets and checkpoints took.
    """

    wall: float | None = None
    evaluating: float = 0.0
    saving: float = 0.0


def summarise_steps(
    window: Sequence[StepMetrics], spent: Spent | None = None, *, devices: int = 1, peak: float | None = None
) -> dict[str, float]:
    """Figures of one log line over the steps since the last one.

    Args:
        window: the steps.
        spent: the time around them.
        devices: processes that computed.
        peak: FLOP/s of each at most.
    """
    last, spent = window[-1], spent or Spent()
    contents, figures = [step.contents for step in window], [step.figures for step in window]
    seconds = sum(step.seconds for step in window)
    wall = spent.wall or seconds
    trained = sum(step.num_supervised for step in figures)  # without pages that failed, of which there is no loss
    weighted = sum(step.loss * step.num_supervised for step in figures)
    return {
        "loss": weighted / trained if trained else 0.0,
        "lr": last.lr,
        "grad_norm": last.figures.grad_norm,
        "clipped_pct": 100.0 * sum(step.is_clipped for step in window) / len(window),
        "tokens_per_s": sum(step.num_tokens for step in contents) / wall,
        "pages_per_s": sum(step.num_pages for step in contents) / wall,
        "step_s": seconds / len(window),
        "eval_s": spent.evaluating,
        "save_s": spent.saving,
        "data_wait_pct": 100.0 * sum(step.wait_seconds for step in figures) / seconds,
        "fill_tokens_pct": 100.0 * sum(step.fill_tokens for step in window) / len(window),
        "fill_patches_pct": 100.0 * sum(step.fill_patches for step in window) / len(window),
        "imbalance": max(step.imbalance for step in contents),
        "supervised_tokens": float(sum(step.num_supervised for step in contents)),
        **_memory(last.figures),
        **_speed(window, seconds * devices, peak),
        **_epochs(last.epochs),
        **last.learning,
        **_count_without_image(contents),
        **summarise_mix([step.mix for step in contents]),
        **_losses_by_dataset(window),
    }


def _memory(figures: StepFigures) -> dict[str, float]:
    """Of the process that used most, in GB."""
    cpu, allocated, reserved = figures.memory
    of_gpu = {"gpu_peak_gb": allocated / _GIGA, "gpu_reserved_gb": reserved / _GIGA} if reserved else {}
    return {"cpu_peak_gb": cpu / _GIGA, **of_gpu}


def _speed(window: Sequence[StepMetrics], device_seconds: float, peak: float | None) -> dict[str, float]:
    """TFLOP/s of the model on each device while it trains, and what share of the device's peak that is."""
    flops = [step.flops for step in window if step.flops is not None]
    if len(flops) < len(window):
        return {}
    rate = sum(flops) / device_seconds
    return {"tflops": rate / 1e12, **({} if peak is None else {"mfu_pct": 100.0 * rate / peak})}


def _epochs(epochs: Mapping[str, float]) -> dict[str, float]:
    if len(epochs) == 1:
        return {"epoch": next(iter(epochs.values()))}
    return {f"epoch/{name}": value for name, value in epochs.items()}


def _losses_by_dataset(window: Sequence[StepMetrics]) -> dict[str, float]:
    """Mean loss per supervised token of each of several datasets that gave some."""
    sums: dict[str, tuple[float, float]] = {}
    for step in window:
        for name, (loss, tokens) in zip(step.contents.mix, step.figures.dataset_losses, strict=False):
            before = sums.get(name, (0.0, 0.0))
            sums[name] = before[0] + loss, before[1] + tokens
    return {f"loss/{name}": loss / tokens for name, (loss, tokens) in sums.items() if tokens}


def _count_without_image(contents: Sequence[StepContents]) -> dict[str, float]:
    """Pages, and those of them without an image, in streams; what an index says is said before the first step."""
    if contents[-1].keys is None:
        return {}
    pages, without = (sum(step.num_pages for step in contents), sum(step.num_without_image for step in contents))
    return {"pages": float(pages), "pages_without_image": float(without)}


def summarise_mix(mixes: Sequence[Mapping[str, Share]]) -> dict[str, float]:
    """Shares of pages and of tokens, in percent, of each of several datasets: the mix that was really trained."""
    shares: dict[str, float] = {}
    for unit in Share._fields:
        sums = {name: sum(getattr(mix[name], unit) for mix in mixes) for name in mixes[-1]}
        shares |= {f"mix_{unit}_pct/{name}": 100.0 * sums[name] / max(sum(sums.values()), 1) for name in sums}
    return shares


def describe(figures: Mapping[str, float]) -> str:
    """The figures that a person watches; fill is of tokens and of patches."""
    mix = ", ".join(
        f"{name.partition('/')[2]} {value:.1f} %"
        for name, value in figures.items()
        if name.startswith("mix_tokens_pct/")
    )
    without, pages = figures.get("pages_without_image"), figures.get("pages", 0.0)
    no_image = "" if without is None else f" {without:,.0f} of {pages:,.0f} pages have no image"
    mfu = f"MFU {figures['mfu_pct']:.1f} % " if "mfu_pct" in figures else ""
    return (
        f"loss {figures['loss']:.4f} lr {figures['lr']:.1e} {figures['tokens_per_s']:,.0f} tokens/s "
        f"{figures['pages_per_s']:.1f} pages/s {mfu}wait {figures['data_wait_pct']:.0f} % "
        f"fill {figures['fill_tokens_pct']:.0f}/{figures['fill_patches_pct']:.0f} % "
        f"imbalance {figures['imbalance']:.2f}" + (f" tokens of {mix}" if mix else "") + no_image
    )


def describe_place(step: int, total: int | None, figures: Mapping[str, float], seconds_left: float | None) -> str:
    """Where in the run a step is: `step 12/1000 epoch 0.42 ETA 1:02:03`; what nobody knows is left out."""
    of_total = "" if total is None else f"/{total}"
    epoch = f" epoch {figures['epoch']:.2f}" if "epoch" in figures else ""
    return f"step {step}{of_total}{epoch}{'' if seconds_left is None else f' ETA {duration(seconds_left)}'}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds; days where there are some."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hour}:{minute:02}:{second:02}"


def describe_eval(figures: Mapping[str, float]) -> str:
    """The figures of an evaluation set; the rates are there where the model wrote pages."""
    line = f"loss {figures['loss']:.4f} over {int(figures['tokens'])} tokens"
    if "cer" not in figures:
        return line
    cut = f", {int(figures['cut'])} of them cut off" if figures["cut"] else ""
    return f"{line}, CER {figures['cer']:.4f} WER {figures['wer']:.4f} over {int(figures['generated'])} pages{cut}"
