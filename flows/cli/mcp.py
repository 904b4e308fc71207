"""`xmodal mcp`: the lake as tools of a language model."""

from importlib import import_module

from flows.cli.output import LakeOption, lake_uri


def mcp(lake: LakeOption = None) -> None:
    """Offer search and read-only SQL over the Model Context Protocol, on standard input and output."""
    # by name, as `xmodal serve` does: flows and dashboards do not know each other
    import_module("dashboards.mcp").serve(lake_uri(lake))
