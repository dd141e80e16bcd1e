"""Flags that several commands share."""

from __future__ import annotations

import click

DEFAULT_BACKBONE = "timm/resnet34.tv_in1k"
backbone_option = click.option(
    "--backbone",
    metavar="REF",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="ORG/NAME[@REVISION] on the Hugging Face Hub, a local folder, or builtin.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
