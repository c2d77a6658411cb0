"""`kompas`: every command. Each failure is one sentence on stderr and a non-zero exit."""

from __future__ import annotations

import sys

import typer

from service.cli.backup import backup, restore
from service.cli.documents import docs, openapi
from service.cli.importer import import_file
from service.cli.kpi import kpi
from service.cli.maintenance import check, rebuild
from service.cli.manage import key, site
from service.cli.serve import migrate, serve, worker
from service.cli.spool import spool
from service.errors import KompasError, StartupError

commands = typer.Typer(
    name="kompas",
    help="Measure marketing: events in, exact KPIs out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
commands.command("serve")(serve)
commands.command("worker")(worker)
commands.command("migrate")(migrate)
commands.command("rebuild")(rebuild)
commands.command("check")(check)
commands.command("backup")(backup)
commands.command("restore")(restore)
commands.command("import")(import_file)
commands.command("openapi")(openapi)
commands.command("docs")(docs)
commands.add_typer(site, name="site")
commands.add_typer(key, name="key")
commands.add_typer(kpi, name="kpi")
commands.add_typer(spool, name="spool")


def main() -> None:
    """Entry point of the `kompas` command."""
    try:
        commands()
    except (StartupError, KompasError) as error:
        sys.stderr.write(f"kompas: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from service.store.failures import describe

        # One sentence here, too: what a database quotes may be keys or people.
        sys.stderr.write(f"kompas: This failed unexpectedly: {describe(error)}.\n")
        sys.exit(1)
