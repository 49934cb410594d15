"""The commands that make models of what training left, or before it: model export, model merge, model add-tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wdstream.commands import console
from wdstream.commands.paths import PathsApp

if TYPE_CHECKING:
    from wdstream.train.saving.export_run import ModelReport

NewModel = Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the model; it must not exist, or be empty.")]
DtypeOption = Annotated[
    Literal["bfloat16", "float16", "float32"] | None,
    typer.Option(help="Of the weights; that in which the run computed when left out."),
]
MergedDtypeOption = Annotated[
    Literal["bfloat16", "float16", "float32"] | None,
    typer.Option(help="Of the weights; that of the base model when left out."),
]

model_app = PathsApp(
    no_args_is_help=True, help="Make a model, which plain transformers and peft load, of a run or of another model."
)


@model_app.command("export")
def model_export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a training run, finished or not.")],
    out: NewModel,
    step: Annotated[str, typer.Option(metavar="N|best|newest", help="Which checkpoint.")] = "newest",
    merge: Annotated[bool, typer.Option("--merge", help="Merge the run's adapter into its base.")] = False,
    ema: Annotated[bool, typer.Option("--ema", help="Take the average of the weights (train.ema).")] = False,
    dtype: DtypeOption = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the folder calls its base model, such as ORG/MODEL of a hub."),
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload the folder to this repository of a hub, too.")
    ] = None,
) -> None:
    """Make a model folder of a checkpoint: weights or adapter, tokenizer, processor, and README.md, a model card.

    One process without a GPU is enough, whatever wrote the checkpoint. An adapter names its base by an absolute path,
    unless --base gives another name.
    """
    from wdstream.train.saving.export_run import export_run
    from wdstream.train.saving.push import push_folder, require_hub

    if push is not None:
        require_hub(push)
    _say(export_run(run, out, step=step, merge=merge, dtype=dtype, base=base, average=ema))
    if push is not None:
        console.print(str(push_folder(out, push)), highlight=False, soft_wrap=True)


@model_app.command("merge")
def model_merge_command(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of a LoRA adapter, as peft writes it.")],
    out: NewModel,
    dtype: MergedDtypeOption = None,
    base: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder of its base model; the one it names when left out.")
    ] = None,
) -> None:
    """Merge an adapter into its base model, in float32, and write the result as a model folder.

    An adapter that wdstream trained over 4-bit weights is merged into these, dequantised.
    """
    from wdstream.train.saving.export_run import merge_adapter

    _say(merge_adapter(adapter, out, dtype=dtype, base=base))


def _say(report: "ModelReport") -> None:
    console.print(str(report), highlight=False, soft_wrap=True)


@model_app.command("add-tokens")
def model_add_tokens_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model.")],
    out: NewModel,
    tokens: Annotated[
        list[str], typer.Option("--token", metavar="TEXT", help="A token to add, such as '<stamp>'; repeatable.")
    ],
    special: Annotated[
        bool,
        typer.Option(
            "--special",
            help="Page text does not form them unless text.allow_tokens says so; programs may leave them out of texts.",
        ),
    ] = False,
    init: Annotated[
        Literal["mean", "pieces"],
        typer.Option(help="Rows begin as the mean of all, or of those of the tokens that wrote the same text before."),
    ] = "mean",
    multiple: Annotated[
        int, typer.Option(min=1, help="Where the tables grow, make their rows a multiple of this, such as 64.")
    ] = 1,
) -> None:
    """Write a model folder with more tokens: index, plan and train with it, as with any other.

    Rows of the embedding and the output head that no token has are used first. No other weight changes. Count the
    tokens of shards again: wdstream lengths SHARDS --tokenizer OUT.
    """
    from wdstream.train.model.new_tokens import grow_model

    added = grow_model(model, out, tokens, is_special=special, init=init, multiple=multiple)
    console.print(f"{out}: {added.text}", highlight=False, soft_wrap=True)
