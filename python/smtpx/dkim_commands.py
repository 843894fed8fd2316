"""``smtpx dkim``: the keys that sign what leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smtpx.dkim_keys import Algorithm, new_key
from smtpx.told import told

__all__ = ["dkim"]

dkim = typer.Typer(help="The keys that sign what leaves (DKIM).", no_args_is_help=True)


@dkim.callback()
def _dkim() -> None:
    """Keep ``new`` a word of its own, though it is the only one."""


@dkim.command("new")
def new(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain whose mail it signs.")],
    *,
    selector: Annotated[str, typer.Option(help="The key's name in the DNS: another for each key.")] = "s1",
    algorithm: Annotated[Algorithm, typer.Option(help="Each verifier knows rsa, not each ed25519.")] = "rsa",
    key: Annotated[
        Path | None,
        typer.Option(help="The file to write; it must not exist.", show_default="DOMAIN.SELECTOR.pem"),
    ] = None,
) -> None:
    """Make a key that signs the mail of a domain; show its DNS record, and what to configure."""
    path = key or Path(f"{domain}.{selector}.pem")
    with told():
        record = new_key(domain, selector, algorithm, path)
    typer.echo(f"wrote {path}; let only the server read it")
    typer.echo(f"\nthe record for the zone:\n\n{record}")
    typer.echo(f'\nonce it is published, for the configuration:\n\n[domains."{domain}"]')
    typer.echo(f'dkim = {{ selector = "{selector}", key = "{path.absolute().as_posix()}" }}')
