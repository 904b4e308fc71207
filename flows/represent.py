"""Represent: what is kept once more, as codes compared bit by bit, or as vectors of parts."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.represent import CodesRecipe, TokensRecipe
from tasks import represent as work
from tasks import tokens as token_work
from tasks.represent import Represented
from tasks.shards.represent import CodesRun, TokensRun


@flow(name="codes")
@hold.rebased
def codes(recipe: CodesRecipe, lake: str | None = None) -> Represented:
    """Learn codes, unless they were learnt before, and write those that are missing. Run again, it changes nothing.

    Args:
        recipe: From what, and how.
        lake: Where; the setting `XMODAL_LAKE` by default.
    """
    with session(recipe, lake, flow="codes", kind=CodesRun) as (job, writer):  # type: ignore[arg-type]
        learnt = work.learn_codes(job)
        return work.write_codes(job, learnt, writer)


@flow(name="tokens")
@hold.rebased
def tokens(recipe: TokensRecipe, lake: str | None = None) -> Represented:
    """Train token heads, unless they were trained before, and write the tokens that are missing.

    Args:
        recipe: From what, and how.
        lake: Where; the setting `XMODAL_LAKE` by default.
    """
    with session(recipe, lake, flow="tokens", kind=TokensRun) as (job, writer):  # type: ignore[arg-type]
        learnt = token_work.learn_tokens(job)
        return token_work.write_tokens(job, learnt, writer)
