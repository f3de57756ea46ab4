"""The command line: Typer commands, one file each, without logic; the only place that prints or exits."""
