"""Convert published weights to this project's snapshots, and snapshots to .pth files.

    python -m tools.convert_checkpoint latest_net_G.pth coco.safetensors
    python -m tools.convert_checkpoint FOLDER model.safetensors         # its latest_net_G and _E
    python -m tools.convert_checkpoint model.safetensors FOLDER --to torch
    python -m tools.convert_checkpoint all.pth model.safetensors --key netG_ema
    python -m tools.convert_checkpoint segformer.b0.pth segmenter.safetensors
    bash test.sh --checkpoint model.safetensors --input_path LABELS --output_path OUT
    bash test.sh --checkpoint model.safetensors --input_path CONTENT --img_path S --output_path OUT

SRC is a file of NVlabs/SPADE, of EndlessSora/TSIT, of this design's first version in Jittor, VGG-19
of torchvision or Jittor, or a SegFormer (or its encoder) of NVlabs or Hugging Face. It may be a
folder with *_net_G and perhaps *_net_E. If a file holds several networks, the generator and its
encoder are taken, or the network that --key names.
PyTorch is not needed, and no code in a file is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from options.errors import UserError
from options.generators import GENERATORS
from runtime.program import ToolParser, exit_codes
from weights.convert import to_project, to_torch
from weights.infer_options import PUBLISHED, Hints


@exit_codes(stopped="stopped: no file was written")
def main(argv: Sequence[str] | None = None) -> int:
    """Return exit code 0; 2 for an error of the user, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    source = Path(arguments.source).expanduser()
    target = Path(arguments.target).expanduser()
    try:
        if arguments.to == "torch":
            lines = to_torch(source, target, arguments.weights, arguments.key)
        else:
            hints = Hints(
                size=None if arguments.size is None else tuple(arguments.size),
                num_downsamples=arguments.num_downsamples,
                classes=arguments.classes,
                unknown_label=arguments.unknown_label,
                instances=arguments.instances,
            )
            lines = to_project(source, target, hints, arguments.key)
    except OSError as error:
        raise UserError(f"DST: cannot be written: {error}. Name another DST") from None
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.convert_checkpoint", __doc__)
    add = parser.add_argument
    add("source", metavar="SRC", help="a file of weights, or a folder with *_net_G and *_net_E")
    add("target", metavar="DST", help="a .safetensors file; for --to torch a .pth file or a folder")
    add("--to", choices=("project", "torch"), default="project", help="format of DST (project)")
    known = ", ".join(str(channels) for channels in sorted(PUBLISHED))
    add(
        "--classes", type=int, metavar="N",
        help="number of classes of the layouts; further layout planes are removed (numbers of "
        f"planes that are recognized: {known})",
    )  # fmt: skip
    add("--unknown-label", "--unknown_label", type=int, metavar="ID", help="id of the last class")
    add(
        "--instances", action="store_true", default=None,
        help="the last layout plane holds instance boundaries",
    )  # fmt: skip
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="size of the images, pixels")
    spade = GENERATORS["spade"]
    depths = range(spade.min_downsamples, spade.max_downsamples)  # the deepest is in the weights
    words = ", ".join(f"{n} is {word}" for word, n in spade.depth_words.items() if n in depths)
    add("--num-downsamples", type=int, choices=depths, help=f"downsamples of SPADE: {words}")
    add("--key", metavar="NAME", help="which of several networks in a file; dotted if nested")
    add(
        "--weights", choices=("ema", "raw"), default="ema",
        help="which weights of a snapshot, with --to torch (ema)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
