"""The command line: one table of commands, each a function of `selfsight.api`, its flags the function's parameters."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from selfsight import api
from selfsight.demo import demo
from selfsight.errors import RecipeError, SelfsightError, printable

COMMANDS: dict[str, Callable[..., Any]] = {
    "inspect": api.inspect,
    "train": api.train,
    "evaluate": api.evaluate,
    "compare": api.compare,
    "classify": api.classify,
    "embed": api.embed,
    "search": api.search,
    "browse": api.browse,
    "export": api.export,
    "pack": api.pack,
    "methods": api.methods,
    "demo": demo,
}

DATA = (
    "Pictures: a folder (sub-folders may be labels), a .txt list, a CSV or Parquet table, or what `selfsight pack` "
    "wrote (a folder, or an address such as s3://...); several are joined."
)
POSITIONAL = {"data", "run", "name", "place", "other", "query", "pack.out"}  # given by place, not by flag
TYPES: dict[str, Any] = {
    "data": list[str],
    "pack.data": str,  # the second place is OUT
    "labels": list[str],
    "methods": str,
    "run": Path,
    "browse.place": Path,
    "other": Path,
    "settings": list[str],
    "place": str,
    "query": list[str],
    "unlike": list[str],
    "label": list[str],
}  # what to read for wider types
FLAGS = {"length": "--for", "settings": "--set", "layout": "--map", "k": "-k"}  # where the flag is not the name
HELP = {  # one meaning per flag in every command; "command.parameter" where a command needs its own words
    "data": DATA,
    "inspect.data": f"{DATA} Or a run's folder.",
    "pack.data": "Pictures, or documents (.txt): a folder, a .txt list, a CSV or Parquet table; from Python several.",
    "train.data": f"{DATA} Or documents (.txt), for the methods that learn from them. Not needed with --resume.",
    "evaluate.data": f"{DATA} Without it, the pictures the run was trained on (its test part is used for scores).",
    "labels": "Pictures whose labels to learn from, given as DATA is; by default those the run was trained on.",
    "run": "The folder that `selfsight train` wrote.",
    "name": "One method, to see its settings; without it, all methods.",
    "methods": "The methods to compare, as a,b,c; `selfsight methods` lists what there is.",
    "compare.length": "The budget of each run: 10m (turned into steps once, by measured speed), 2000steps, 500kimages.",
    "seeds": "How often to train each method, from different starts.",
    "compare.encoder": "The network for all; by default the usual one of most of the methods.",
    "compare.pretrained": "Also compare with published weights: a timm name with its tag, or a local folder.",
    "compare.out": "The folder to write; by default comparisons/ and the name of DATA.",
    "browse.place": "A run, or a folder that `selfsight embed` wrote.",
    "other": "Another one, of the same pictures, to be shown beside it.",
    "layout": "How the map is laid out at first: pca (at once), tsne, or umap (which needs selfsight[map]).",
    "browse.encoder": "The run whose encoder made the vectors, where it is not where it was.",
    "host": "Where the server can be reached: by default from this machine only; elsewhere a token is asked for.",
    "port": "Of the server; when it is in use, the next one that is free.",
    "export": "Write the page into this folder, as files that need no server.",
    "method": "How to learn; `selfsight methods` lists what there is.",
    "encoder": "The network: any timm name, or a run's folder to go on from its encoder.",
    "weights": "Start from this weights file (safetensors or a PyTorch checkpoint).",
    "pretrained": "Start from timm's published weights (these are downloaded, unless already on this machine).",
    "evaluate.pretrained": "Also compare with published weights: a timm name with its tag, or a local folder.",
    "views": "What the network sees: the name of a view recipe, such as crop-flip or simclr-keep-colour; `search` "
    "tries some first (docs/views.md) and takes others than the method's own where labels show that they are better. "
    "Unnamed, a run of 5 minutes or more does that if it can.",
    "size": "Side of a picture as the encoder takes it, pixels: by default what the pictures fill, at most 64 (with "
    "CUDA 224), and 5/4 of that where the plan says so; of documents, how many of the first words stand for one.",
    "batch": "Pictures per optimizer step, over all devices.",
    "embed.batch": "Pictures encoded at a time.",
    "micro_batch": "Pictures in memory at a time: a smaller value needs less memory and gives the gradient of the "
    "whole batch (only batch norm sees no more than these).",
    "length": "How long: 10m, 2000steps, 30epochs or 500kimages; by default 10m on a CPU, else as long as published.",
    "demo.length": "How long to train, as for `train`; by default 5m.",
    "lr": "Learning rate at the peak, for this batch and for the optimizer that the plan shows, which on a CPU may be "
    "another than the published one (`--set optimizer=sgd` takes that); by default the method's own rule.",
    "seed": "The seed of every random choice.",
    "workers": "Threads that prepare pictures; the result does not depend on it.",
    "threads": "Threads of the computation; the last bits of the result depend on it.",
    "precision": "fp32 or bf16; by default the faster one, measured.",
    "device": "cpu, cuda, cuda:1, mps; by default cuda where there is such a GPU, else cpu.",
    "train.out": "The folder to write; by default runs/ and the name of DATA.",
    "demo.out": "The folder to write; by default selfsight-demo/.",
    "pack.out": "The folder to write: new, empty, or one that an earlier start did not complete.",
    "classify.out": "The CSV file to write: path, prediction, confidence, the next two classes, or why there is none.",
    "export.data": "Pictures to check the export with, given as elsewhere; by default those of the run.",
    "export.out": "The folder to write; by default RUN/export. An earlier export there is replaced.",
    "format": "timm: a folder for timm and transformers. onnx: the same, and a graph for ONNX Runtime in it.",
    "outputs": "What the ONNX graph gives: embedding, patches, or embedding,patches.",
    "preprocess": "The ONNX graph takes pixels as they were decoded (integers, B H W C) and normalises them itself.",
    "int8": "Also write the ONNX graph in 8-bit integers, and measure what that costs.",
    "inspect.out": "Write the contact sheet and the findings into this folder; without it nothing is written.",
    "embed.out": "The folder to write; or --to.",
    "to": "The database to write, in place of --out: postgresql://user@host/name, with pgvector. What is there "
    "stays, so the same command goes on where it stopped.",
    "append": "Add to what --out holds: files that are there, with the same contents, are left out.",
    "prune": "Take pictures whose files are gone out of the index; needs no DATA.",
    "place": "A run, a folder that `selfsight embed` wrote, or a database: postgresql://user@host/name.",
    "query": "What to look for: a file, a row, or the name of a picture in the index; of several, their mean.",
    "unlike": "What the pictures are to be less like; again for more.",
    "k": "How many pictures to show.",
    "duplicates": "Show groups of pictures that are the same file, or nearly the same picture.",
    "outliers": "Show the pictures that are least like their ten nearest.",
    "diverse": "Show this many pictures to label next, each unlike those before it and those that have a label.",
    "label": "Only pictures of this label; again for more.",
    "path": "Only pictures whose name fits this pattern of * and ?, such as 'china/*'.",
    "approximate": "Look at a part of very many rows only (with faiss, once it has an index), and say what that finds.",
    "search.encoder": "The run whose encoder made the vectors, where it is not where it was.",
    "csv": "Also write the pictures into this table: path, label, row, similarity, the number of their group of "
    "duplicates, and the run's group and split.",
    "sheet": "Also draw the pictures into this PNG.",
    "resume": "Go on with this run, from the very next picture.",
    "config": "Take settings from this recipe.yaml; flags and --set win over it.",
    "settings": "A setting of the method, as key=value; give it again for more (`selfsight methods NAME` lists them; "
    "docs/train.md those that every method has).",
    "save_every": "How often to save: a length of time, such as 90s or 5m (by default every 10 s to 2 minutes, so that "
    "it takes about 1 % of the time).",
    "keep": "Which encoder is the result: the last one, or (best-rankme, no labels needed) that of the look with the "
    "highest effective rank.",
    "on_collapse": "What to do when the guard finds that nothing is learned any more: warn and go on, or stop.",
    "use_all": "Train on the test part too. Every later number of this run then says so.",
    "quiet": "Print only errors, and where the result is.",
    "compare.quiet": "Say nothing while it works; print the result only.",
    "tensorboard": "Also write the metrics as event files into RUN/tensorboard.",
    "finetune": "Also train the whole network with 1, 10 and 100 % of the labels, from this run's encoder and from "
    "scratch (it says how many minutes that takes).",
    "finetune_for": "How long each training of --finetune is: 500steps (the default), 30epochs, 50kimages; 10m is for "
    "all together.",
    "dense": "Also measure where things are, by patches: a folder of masks named as the pictures, or a table with the "
    "columns path and mask. One class number for each pixel, 255 for none.",
    "json": "Also write the numbers into this file.",
    "patches": "Keep one vector for each patch, not only one for each picture.",
    "at_most": "Of more pictures than these a part is measured, drawn by contents; by default of more than 50,000 "
    "(fewer, where they have more than three channels).",
    "drop_leaks": "Leave test pictures that have a copy or their group in the training part out of every number.",
    "identity_column": "The table's column that retrieval looks for in place of the label, such as one of products.",
    "across_column": "The table's column, such as one of cameras: only pictures of another value of it are searched.",
    "label_column": "The table's column of labels; an empty cell is a picture without a label.",
    "group_column": "The table's column of groups: pictures that must not be split between train and test.",
    "split_column": "The table's column that says train or test.",
    "shared_labels": "The same label in two sources is the same class (by default it is not).",
}
HELP |= {  # where there is a run, which knows its columns
    f"{command}.{name}_column": f"{HELP[f'{name}_column']} By default the run's, where the table has it, else {name}."
    for command in ("evaluate", "classify", "embed")
    for name in ("label", "group", "split")
}


def application() -> App:
    """The parser, made anew from the table."""
    app = App(
        name="selfsight",
        help="Learn an image encoder from pictures without labels, prove how good it is, and use it.",
        help_epilogue="With --debug, an error also shows where in the code it arose.",
        help_format="plaintext",
        version=_version,
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    app["--help"].group = app["--version"].group = "Options"
    for place, (name, function) in enumerate(COMMANDS.items()):
        app.command(_command(name, function), name=name, sort_key=place)
    return app


def main(arguments: Sequence[str]) -> int:
    """Run one command. Exit codes: 0, 2 for an error of use or data, 3 when training went wrong and stopped itself.

    128 + the number of the signal that ended it; 1 is a fault of Selfsight itself.
    """
    debug = "--debug" in arguments
    try:
        application()([argument for argument in arguments if argument != "--debug"])
    except (SelfsightError, CycloptsError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if debug:
            raise
        print(f"selfsight: {_sentence(error)}", file=sys.stderr)
        return error.code if isinstance(error, SelfsightError) else 2
    except Exception as error:
        if debug:
            raise
        print(
            f"selfsight: this is a fault of Selfsight ({type(error).__name__}: {_sentence(error)}); please report it. "
            "The same command run again with --debug shows where it arose.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("selfsight: interrupted.", file=sys.stderr)
        return 130
    return 0


def _version() -> str:
    import selfsight

    return str(selfsight.__version__)


def _sentence(error: Exception) -> str:
    """The error in one line, without control characters: names in it come from the user's files."""
    if isinstance(error, OSError):
        text = f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}"
    else:
        text = str(error)
    return printable(text).strip()


def _command(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a command: the same parameters in the command line's spelling, its result shown."""
    signature = inspect.signature(function)
    flags = [_flag(name, parameter, function) for parameter in signature.parameters.values()]

    def run(*args: Any, **kwargs: Any) -> None:
        given = run.__signature__.bind(*args, **kwargs).arguments  # type: ignore[attr-defined]
        result = function(**{key: _read(key, value) for key, value in given.items()})
        if os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK") == "0":  # of several ranks one tells it
            from selfsight.report import tables

            tables.show(name, result)

    run.__doc__ = (function.__doc__ or "").strip().split("\n\n")[0]
    run.__signature__ = signature.replace(parameters=flags, return_annotation=None)  # type: ignore[attr-defined]
    return run


def _flag(command: str, parameter: inspect.Parameter, function: Callable[..., Any]) -> inspect.Parameter:
    name, own = parameter.name, f"{command}.{parameter.name}"
    text = HELP.get(own, HELP.get(name))
    by_place = name in POSITIONAL or own in POSITIONAL
    kind = inspect.Parameter.POSITIONAL_ONLY if by_place else inspect.Parameter.KEYWORD_ONLY
    read: Any = TYPES.get(own, TYPES.get(name)) or _annotation(parameter, function)
    default = None if name == "settings" else parameter.default
    if default is None:
        read = read | None
    spelled = Annotated[
        read, Parameter(name=FLAGS.get(name), help=text, show_default=default is not None and default is not False)
    ]
    return parameter.replace(kind=kind, annotation=spelled, default=default)


def _annotation(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    written = parameter.annotation
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return eval(written, scope) if isinstance(written, str) else written  # the annotation is our own source


def _read(name: str, value: Any) -> Any:
    if name in ("data", "labels") and isinstance(value, list) and len(value) == 1:
        return value[0]
    return _pairs(value) if name == "settings" and value is not None else value


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise RecipeError(f"--set takes key=value, as in --set temperature=0.2, not {setting!r}.")
        if key in pairs:
            raise RecipeError(f"--set {key} is given twice; give it once.")
        pairs[key] = value
    return pairs
