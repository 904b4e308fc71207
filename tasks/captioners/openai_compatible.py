"""Any HTTP endpoint that speaks the chat-completions protocol: hosted models, vLLM, llama.cpp, Ollama."""

import asyncio
import base64
import concurrent.futures
import hashlib
import io
import ipaddress
import json
import math
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners._untrusted import drafted, message_of, one_line, refusal_of
from tasks.captioners.contract import Corpus, Draft, Failure, Medium
from tasks.encoders.identity import EXECUTION

_SHORTEST_SECRET = 8  # local servers are given words such as "EMPTY", which may stand in a caption
_KEY_WAS_HERE = "[key]"
_EXCERPT_BYTES = 4096  # of a body that is no answer
_EXCERPT_CHARS = 200
_LONGEST_CONNECT_S = 10.0
# Said with status 400 where the picture, not the request, is refused.
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked")


@dataclass(frozen=True)
class OpenaiCompatible:
    """Asks an endpoint for one text a picture.

    The picture goes out as a data URL, re-encoded and no larger than `picture_px`; a medium's id, texts and
    vector do not leave. What comes back is nobody's word: it becomes plain text of one line, and a text with
    markup, with instructions or with the key in it is kept with the fact "suspicious" and confidence 0, so that
    nothing accepts it but a person. Tokens of answers that come to nothing are counted too.

    The one statement of a draft is the draft as a whole. Its confidence is the geometric mean of the
    probabilities of the tokens where the endpoint gives them, else `default_confidence`.

    A medium takes at most `retries` + 1 times `timeout_s`, and the waits between. After `give_up_after` media
    in a row got no answer the rest of the call fails at once, and those under way at their next try; the next
    call begins anew. An answer without a caption (empty, refused) is an answer.

    Args:
        base_url: Address up to before "/chat/completions", as in "http://localhost:8000/v1". Any address the
            user writes here is gone to, private ones too. Redirects are not followed and no proxy is used.
        model: Name the endpoint knows the model by.
        prompt: What is asked of each picture.
        max_tokens: Tokens written at most; a text that was stopped there has the fact "finished": false.
        key_env: Environment variable that holds the key, read at each call; no key goes out where it is unset
            or `key_env` is "". Nothing that is kept holds the key; words of under 8 characters count as none.
        picture_px: Longer side of the picture that is sent, at most. Smaller ones go as they are.
        picture_format: JPEG at quality 90, or PNG.
        logprobs: Ask for the tokens' probabilities. Some endpoints refuse the question.
        default_confidence: Confidence of a text that comes without probabilities, in [0, 1]; 0 has it refused.
        language: BCP 47 primary subtag of what the prompt asks for.
        usd_per_million_prompt: Price of tokens read. None: not counted.
        usd_per_million_completion: Price of tokens written. None: not counted.
        timeout_s: Longest a try may take in all, however slowly its bytes come.
        retries: Further tries after a lost connection and the statuses 408, 409, 429 and 5xx.
        backoff_s: First wait between tries; doubles each time, less up to a half at random.
        longest_wait_s: Longest wait between tries, also where the endpoint asks for more (Retry-After).
        parallel: Media under way at once.
        max_bytes: Largest answer that is read.
        give_up_after: Media in a row without an answer after which the rest fail.
        seed: Seed of the random part of the waits.

    Raises:
        ValueError: The address is no plain http(s) URL, carries credentials or a query, or a number is out of
            range.
    """

    name: ClassVar[str] = "openai-compatible"
    source: ClassVar[Source] = Source(
        title="API reference: create chat completion",
        authors="OpenAI",
        year=2023,
        url="https://platform.openai.com/docs/api-reference/chat/create",
        departs="one picture and one text a request, temperature 0, answers taken as untrusted text",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = False
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    base_url: str
    model: str
    prompt: str = "Describe this picture in one plain sentence. Say only what can be seen."
    max_tokens: int = 120
    key_env: str = field(default="OPENAI_API_KEY", metadata=EXECUTION)
    picture_px: int = 320
    picture_format: Literal["jpeg", "png"] = "jpeg"
    logprobs: bool = False
    default_confidence: float = 0.5
    language: str = "en"
    usd_per_million_prompt: float | None = None
    usd_per_million_completion: float | None = None
    timeout_s: float = field(default=60.0, metadata=EXECUTION)
    retries: int = field(default=3, metadata=EXECUTION)
    backoff_s: float = field(default=0.5, metadata=EXECUTION)
    longest_wait_s: float = field(default=30.0, metadata=EXECUTION)
    parallel: int = field(default=4, metadata=EXECUTION)
    max_bytes: int = field(default=1 << 20, metadata=EXECUTION)
    give_up_after: int = field(default=5, metadata=EXECUTION)
    seed: int = field(default=0, metadata=EXECUTION)

    def __post_init__(self) -> None:
        _plain_url(self.base_url)
        if not self.model or not self.prompt.strip():
            raise ValueError("model and prompt must say something")
        if self.key_env and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            # the value is not repeated: it may be the key itself
            raise ValueError("key_env must be the name of an environment variable, not the key")
        for name in ("max_tokens", "parallel", "max_bytes", "give_up_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if not 16 <= self.picture_px <= 4096:
            raise ValueError(f"picture_px must be 16 to 4096, but is {self.picture_px}")
        if self.picture_format not in ("jpeg", "png"):
            raise ValueError(f"picture_format must be jpeg or png, but is {self.picture_format!r}")
        if not 0 <= self.default_confidence <= 1:
            raise ValueError(f"default_confidence must be in [0, 1], but is {self.default_confidence}")
        for name in ("retries", "backoff_s", "longest_wait_s", "timeout_s"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0) or (name == "timeout_s" and number == 0):
                raise ValueError(f"{name} must be a number of at least 0, but is {number}")
        for price in (self.usd_per_million_prompt, self.usd_per_million_completion):
            if price is not None and not (math.isfinite(price) and price >= 0):
                raise ValueError(f"a price must be a number of at least 0, but is {price}")

    def learn(self, corpus: Corpus) -> Self:
        """Return itself: the endpoint has learnt what it has."""
        return self

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        Failures: bad-picture, endpoint-down (no connection, a status that did not pass, given up), too-slow,
        refused-by-endpoint (a status of refusal, a redirect, a content filter), not-text (no JSON, of another
        shape, no letter), too-long (over `max_bytes`), empty.

        Raises:
            DataError: The key cannot stand in a header, or would go out in clear.
        """
        if not media:
            return []
        calls = _Calls(self, self._key())
        # A thread of its own: the caller's may already run an event loop.
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="captions") as own:
            running = own.submit(lambda: asyncio.run(calls.all(media)))
            try:
                return running.result()
            except BaseException:  # the caller is interrupted: what has not begun need not begin
                calls.stop()
                raise

    def _key(self) -> str:
        key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        if not re.fullmatch(r"[\x21-\x7e]*", key):
            raise DataError(
                f"the key in {self.key_env} has characters that a header cannot hold; set it anew"
            )
        url = httpx.URL(self.base_url)
        if key and url.scheme == "http" and not _is_here(url.host):
            raise DataError(
                f"the key in {self.key_env} would go to {url.host} in clear; write base_url: https://..., or"
                " key_env: '' where the endpoint needs none"
            )
        return key


def data_url(picture: NDArray[np.uint8], picture_px: int, picture_format: Literal["jpeg", "png"]) -> str:
    """Return the picture as a data URL, its longer side at most `picture_px`."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    if max(image.size) > picture_px:
        scale = picture_px / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, picture_format, **({"quality": 90} if picture_format == "jpeg" else {}))
    return f"data:image/{picture_format};base64,{base64.b64encode(content.getvalue()).decode()}"


class _Trouble(Exception):
    """A try without an answer.

    Args:
        failure: What to say if it stays so.
        passes: Whether another try may help.
        wait_s: Wait that the endpoint asked for.
    """

    def __init__(self, failure: Failure, *, passes: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.passes = passes
        self.wait_s = wait_s


class _Calls:
    """One call's requests. Holds the key, and so is no dataclass: it must have no telling `repr`."""

    def __init__(self, method: OpenaiCompatible, key: str) -> None:
        self._method = method
        self._key = key
        self._in_a_row = 0
        self._given_up = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._facts = {
            "model": method.model,
            "endpoint": method.base_url,
            "prompt_digest": hashlib.sha256(method.prompt.encode()).hexdigest(),
        }

    def stop(self) -> None:
        """Begin nothing more; called from another thread."""
        if self._loop is None:
            self._given_up.set()
        else:
            self._loop.call_soon_threadsafe(self._given_up.set)

    async def all(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return what became of each medium, in order."""
        self._loop = asyncio.get_running_loop()
        drafts: list[Draft | Failure | None] = [None] * len(media)
        left = iter(range(len(media)))
        connect_s = min(self._method.timeout_s, _LONGEST_CONNECT_S)
        # Neither proxies nor credentials of the surroundings take part.
        async with (
            httpx.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None, connect=connect_s)
            ) as client,
            asyncio.TaskGroup() as group,
        ):

            async def work() -> None:
                for row in left:
                    drafts[row] = refusal_of(media[row]) or await self._one(client, media[row])

            for _ in range(min(self._method.parallel, len(media))):
                group.create_task(work())
        return [draft for draft in drafts if draft is not None]

    async def _one(self, client: httpx.AsyncClient, medium: Medium) -> Draft | Failure:
        method = self._method
        chance = random.Random(f"{method.seed} {medium.media_id}")
        request: bytes | None = None
        pause_s = method.backoff_s
        for tries in range(1, method.retries + 2):
            if self._given_up.is_set():
                break
            if request is None:
                request = self._request(medium.picture)
            try:
                draft = self._read(await self._post(client, request))
            except _Trouble as trouble:
                if trouble.passes and tries <= method.retries:
                    asked_s = max(trouble.wait_s, pause_s * (0.5 + chance.random() / 2))
                    await self._wait(min(asked_s, method.longest_wait_s))
                    pause_s *= 2
                    continue
                self._in_a_row += 1
                if self._in_a_row >= method.give_up_after:
                    self._given_up.set()
                return trouble.failure
            self._in_a_row = 0
            return draft
        return Failure("endpoint-down", f"given up after {self._in_a_row} media in a row without an answer")

    async def _wait(self, wait_s: float) -> None:
        """Wait, but not past the moment when the endpoint is given up."""
        try:
            async with asyncio.timeout(wait_s):
                await self._given_up.wait()
        except TimeoutError:
            return

    def _request(self, picture: NDArray[np.uint8]) -> bytes:
        method = self._method
        url = data_url(picture, method.picture_px, method.picture_format)
        parts = [{"type": "text", "text": method.prompt}, {"type": "image_url", "image_url": {"url": url}}]
        asked: dict[str, Any] = {
            "model": method.model,
            "messages": [{"role": "user", "content": parts}],
            "max_tokens": method.max_tokens,
            "temperature": 0,
        }
        if method.logprobs:
            asked["logprobs"] = True
        return json.dumps(asked).encode()

    async def _post(self, client: httpx.AsyncClient, request: bytes) -> bytes:
        """Return the body of an answer.

        Raises:
            _Trouble: There is none.
        """
        # identity: what is counted against `max_bytes` is what comes over the line
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self._method.base_url.rstrip('/')}/chat/completions"
        try:
            async with (
                asyncio.timeout(self._method.timeout_s),
                client.stream("POST", url, content=request, headers=headers) as response,
            ):
                return await self._body(response)
        except TimeoutError:
            slow = f"not done after {self._method.timeout_s:g} s"
            raise _Trouble(Failure("too-slow", slow)) from None
        except httpx.HTTPError as error:  # holds the request, and with it the key: never passed on
            lost = self._said(f"{type(error).__name__}: {error}")
            raise _Trouble(Failure("endpoint-down", lost), passes=True) from None

    async def _body(self, response: httpx.Response) -> bytes:
        status = response.status_code
        declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = declared == "application/json" or declared.endswith("+json") or not declared
        encoding = response.headers.get("content-encoding", "identity").lower()
        if status == 200 and is_json and encoding == "identity":
            body = await _up_to(response, self._method.max_bytes + 1)
            if len(body) > self._method.max_bytes:
                limit = f"the answer is longer than the limit of {self._method.max_bytes} bytes"
                raise _Trouble(Failure("too-long", limit))
            return body
        excerpt = await _up_to(response, _EXCERPT_BYTES) if encoding == "identity" else b""
        said = self._said(excerpt.decode("utf-8", "replace"), _EXCERPT_CHARS)
        if status == 200:
            what = f"content type {declared!r}, content encoding {encoding!r}: {said}"
            raise _Trouble(Failure("not-text", self._said(what)))
        if 300 <= status < 400:
            to = self._said(response.headers.get("location", "nowhere"), _EXCERPT_CHARS)
            moved = f"status {status}, a redirect to {to}; none is followed: set base_url to where it is"
            raise _Trouble(Failure("refused-by-endpoint", self._said(moved)))
        if status in (408, 409, 429) or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after", ""))
            failure = Failure("endpoint-down", self._said(f"status {status}: {said}"))
            raise _Trouble(failure, passes=True, wait_s=wait_s)
        if status == 400 and any(word.encode() in excerpt for word in _FILTERED):
            # of this picture, not of the endpoint: read as an answer, so that it does not count as one lost
            return json.dumps({"choices": [{"message": {"refusal": said}}]}).encode()
        raise _Trouble(Failure("refused-by-endpoint", self._said(f"status {status}: {said}")))

    def _read(self, body: bytes) -> Draft | Failure:
        """Return the draft in an answer.

        Raises:
            _Trouble: The body is no answer.
        """
        answer: Any = None
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
            if not isinstance(content, str | None) or not isinstance(refusal, str | None):
                raise TypeError("content and refusal must be texts")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            said = self._said(body[:_EXCERPT_BYTES].decode("utf-8", "replace"), _EXCERPT_CHARS)
            wrong = f"no chat completion ({type(error).__name__}): {said}"
            raise _Trouble(Failure("not-text", message_of(wrong), self._cost(answer))) from None
        cost = self._cost(answer)
        if refusal or choice.get("finish_reason") == "content_filter":
            return Failure("refused-by-endpoint", self._said(refusal or "stopped by a content filter"), cost)
        # twice: a key with invisible characters inside is one once they are gone
        text = self._scrubbed(one_line(self._scrubbed(content or "")))
        facts: dict[str, object] = {**self._facts, "finished": choice.get("finish_reason") != "length"}
        if isinstance(served := answer.get("model"), str):
            facts["served_model"] = self._said(served, _EXCERPT_CHARS)
        return drafted(
            text,
            confidence=self._confidence(choice),
            language=self._method.language,
            facts=facts,
            cost=cost,
            suspicious=["key"] if _KEY_WAS_HERE in text else [],
        )

    def _confidence(self, choice: Mapping[str, Any]) -> float:
        mean = token_confidence(choice)
        return self._method.default_confidence if mean is None else mean

    def _cost(self, answer: object) -> dict[str, float]:
        """Return tokens and dollars, as far as the endpoint tells and the prices are known."""
        method = self._method
        usage = answer.get("usage") if isinstance(answer, dict) else None
        prices = {"prompt": method.usd_per_million_prompt, "completion": method.usd_per_million_completion}
        cost: dict[str, float] = {}
        usd = 0.0
        for kind, price in prices.items():
            count = usage.get(f"{kind}_tokens") if isinstance(usage, dict) else None
            if type(count) is int and 0 <= count < 1 << 40:  # not isinstance: true is one, too
                cost[f"{kind}_tokens"] = float(count)
                usd += count * (price or 0.0) / 1e6
        if cost and any(price is not None for price in prices.values()):
            cost["usd"] = usd
        return cost

    def _said(self, text: str, chars: int = 500) -> str:
        """Return something the endpoint said as one line for a message or a fact, the key left out."""
        return self._scrubbed(message_of(self._scrubbed(text)))[:chars]

    def _scrubbed(self, text: str) -> str:
        """Return the text without the key, and without most of it where the text was cut inside the key."""
        for form in (self._key, json.dumps(self._key)[1:-1], quote(self._key, safe="")):
            if len(form) < _SHORTEST_SECRET:
                continue
            text = text.replace(form, _KEY_WAS_HERE)
            for length in range(len(form) - 1, _SHORTEST_SECRET - 1, -1):
                if text.endswith(form[:length]):
                    text = text[:-length] + _KEY_WAS_HERE
        return text


def token_confidence(choice: Mapping[str, Any]) -> float | None:
    """Return the geometric mean of a choice's token probabilities, in [0, 1]; None where it has none."""
    try:
        log_probability = [float(token["logprob"]) for token in choice["logprobs"]["content"]]
    except (TypeError, LookupError, ValueError, OverflowError):
        return None
    if not log_probability or any(math.isnan(value) or value > 1e-3 for value in log_probability):
        return None
    return min(math.exp(math.fsum(log_probability) / len(log_probability)), 1.0)


def retry_after_s(value: str) -> float:
    """Return a Retry-After header in seconds, given as seconds or as a date; 0 for none or nonsense."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # TypeError: a date without a zone
            return 0.0
    return max(seconds, 0.0) if not math.isnan(seconds) else 0.0


async def _up_to(response: httpx.Response, size: int) -> bytes:
    """Return the body's first bytes as they come over the line, `size` at most."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= size:
            break
    return bytes(body[:size])


def _plain_url(base_url: str) -> None:
    """Check an address without repeating it: it may hold what should not be seen.

    Raises:
        ValueError: It is not a plain http(s) URL.
    """
    try:
        url = httpx.URL(base_url)
        port = url.port
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ValueError("base_url is no URL; write one such as http://localhost:8000/v1") from None
    if url.userinfo or url.query or url.fragment:
        raise ValueError(
            "base_url carries credentials, a query or a fragment, which would be kept with every draft; leave"
            " them out and put the key into the variable that key_env names"
        )
    if url.scheme not in ("http", "https") or not url.host or (port is not None and not 0 < port < 65536):
        raise ValueError("base_url must be an http(s) URL with a host, such as http://localhost:8000/v1")


def _is_here(host: str) -> bool:
    """Tell whether a host is this machine, going by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
