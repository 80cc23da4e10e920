"""`nbrw sign` and `nbrw verify`: the commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

_SIGN_EXAMPLES = """\b
Examples:
  nbrw sign climate.sif                      with your PGP key, by Apptainer
  nbrw sign climate.sif --key key.pem        as apptainer sign --key does
  nbrw sign climate --key key.pem            an OCI directory, as cosign does

\b
A key:  openssl genpkey -algorithm ed25519 -out key.pem
        openssl pkey -in key.pem -pubout -out key.pub
Its password, if it has one, is read from $NBRW_KEY_PASSWORD."""

_VERIFY_EXAMPLES = """\b
Examples:
  nbrw verify climate.sif
  nbrw verify climate.sif --key ada.pub      must be signed with this key"""


@click.command("sign", epilog=_SIGN_EXAMPLES, no_args_is_help=True)
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE",
    help="A private key in PEM, or for OCI directories cosign's.  [default: PGP, by Apptainer]",
)  # fmt: skip
@click.argument("image", type=click.Path(path_type=Path))
def sign_command(key: Path | None, image: Path) -> None:
    """Sign IMAGE, a SIF or an OCI directory, so that others can tell that it is yours."""
    from nbrw_builder.sign import sign_image

    sign_image(image, key)
    click.echo(f"{image}: signed")


@click.command("verify", epilog=_VERIFY_EXAMPLES, no_args_is_help=True)
@click.option(
    "--key", "keys", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="IMAGE must be signed with this public key (PEM), or with one of several.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("image", type=click.Path(path_type=Path))
def verify_command(keys: Sequence[Path], as_json: bool, image: Path) -> None:
    """Read every byte of IMAGE and check it against its digests, and its signatures."""
    from nbrw_builder.image_file import SifImage, open_image
    from nbrw_builder.sign import require, signatures
    from nbrw_builder.signature import INVALID, SignatureError, statement

    opened = open_image(image)
    opened.verify()
    if isinstance(opened, SifImage):
        opened.decode()  # of other kinds the digests are those of what is decompressed
    found = require(opened, keys) if keys else signatures(opened)
    if any(item.state == INVALID for item in found):
        raise SignatureError(f"check the signature of {image}: {statement(found)}; do not use it")
    if as_json:
        made = [vars(item) for item in found]
        value = {"format": "nbrw.verify", "version": 1, "image": str(image), "signatures": made}
        click.echo(json.dumps(value, indent=1))
        return
    partial = " (of what is there: the image is partial)" if opened.kind == "oci-partial" else ""
    click.echo(f"{image}: all digests hold{partial}")
    for item in found:
        click.echo(f"{image}: {item}")
    if not found:
        click.echo(f"{image}: not signed")
