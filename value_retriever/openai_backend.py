"""A language model behind any OpenAI-compatible endpoint, asked for structured answers.

A prompt is data: it is passed as JSON, and the answer must be made of the values there are.
"""

import asyncio
import os
import re
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

import openai
from pydantic import BaseModel, ValidationError

from diffusion_base.errors import UserError
from value_retriever.answer import Heard, RetrievedValue, Undecided
from value_retriever.excerpt import basic, excerpt, secrets_of
from value_retriever.options import BackendOptions
from value_retriever.question import answer_model, messages
from value_retriever.values import Values

# these hold for every prompt alike: nothing is gained by asking on
HOPELESS = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
# how servers say that they cannot do structured output
NOT_STRUCTURED = (openai.BadRequestError, openai.UnprocessableEntityError)


class Usage(BaseModel):
    """What the requests took."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, completion: Any) -> None:
        self.requests += 1
        if completion.usage is not None:
            self.prompt_tokens += completion.usage.prompt_tokens or 0
            self.completion_tokens += completion.usage.completion_tokens or 0


class OpenAIBackend:
    """Asks a model about each prompt, several at a time, within a total time.

    The key is taken from OPENAI_API_KEY. Neither it nor what stands before the `@` of `base_url` is in a description,
    message or file, and of what the server sends there is at most an `excerpt`.

    Raises:
        UserError: no model is named, neither a key nor an endpoint, or one of them cannot be what it should.
    """

    name = "openai"

    def __init__(self, values: Values, options: BackendOptions):
        self.values, self.options = values, options
        address = options.base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._key = (os.environ.get("OPENAI_API_KEY") or "").strip()
        self.model = options.model or os.environ.get("OPENAI_MODEL") or ""
        if not self.model:
            raise UserError("--backend openai needs the model's name: --model, or OPENAI_MODEL")
        if not self._key and not address:
            raise UserError("--backend openai needs OPENAI_API_KEY, or the --base_url of a server that needs no key")
        if not re.fullmatch(r"[!-~]*", self._key):  # in a header it would fail, with an error that shows it
            raise UserError("OPENAI_API_KEY holds a space, a line's end or a letter that no key has; set it anew")
        if address and not _is_web_address(address):
            shown = excerpt(address.rpartition("@")[2])
            raise UserError(f"--base_url {shown}: it must be an address such as http://localhost:8000/v1")
        self._secrets = secrets_of(self._key, address)
        self.base_url, self._headers = _without_credentials(address)
        self.answer_model = answer_model(values)
        self.usage = Usage()
        self.structured = True  # until the server says that it cannot

    @property
    def _endpoint(self) -> str:
        address = urlsplit(self.base_url or "")
        return address.netloc + address.path.rstrip("/") or "openai"

    def describe(self) -> dict:
        return {"backend": self.name, "model": self.model, "endpoint": self._endpoint}

    def summary(self) -> str:
        usage, options = self.usage, self.options
        text = (
            f"{usage.requests} requests to {self.model}: {usage.prompt_tokens} prompt tokens, "
            f"{usage.completion_tokens} completion tokens"
        )
        if options.price_in is None or options.price_out is None:
            return text + "; costs: give --price_in and --price_out"
        costs = (usage.prompt_tokens * options.price_in + usage.completion_tokens * options.price_out) / 1e6
        return text + f"; costs {costs:.4f}"

    def ask(self, prompts: Sequence[str], heard: Heard) -> list[RetrievedValue | Undecided]:
        """Raises: UserError: the endpoint refuses every request: a wrong key, no such model, not that address."""
        return _run(self._ask_all(prompts, heard))

    async def _ask_all(self, prompts: Sequence[str], heard: Heard) -> list[RetrievedValue | Undecided]:
        gate = asyncio.Semaphore(self.options.concurrency)
        async with openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self.base_url,
            default_headers=self._headers,
            timeout=self.options.timeout,
            max_retries=self.options.max_retries,
        ) as client:

            async def one(prompt: str) -> RetrievedValue | Undecided:
                async with gate:
                    answer = await self._ask(client, prompt)
                heard(prompt, answer)
                return answer

            tasks = [asyncio.ensure_future(one(prompt)) for prompt in prompts]
            try:
                done, _ = await asyncio.wait(
                    tasks, timeout=self.options.time_budget, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()  # what is hopeless for one is for all
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        late = Undecided(f"no answer within --time_budget, {self.options.time_budget:g} s", failed=True)
        return [late if task.cancelled() else task.result() for task in tasks]

    async def _ask(self, client: openai.AsyncOpenAI, prompt: str) -> RetrievedValue | Undecided:
        try:
            if self.structured:
                try:
                    return self._read(await self._structured(client, prompt))
                except NOT_STRUCTURED as error:
                    try:
                        answer = self._read(await self._plain(client, prompt))
                    except NOT_STRUCTURED:
                        raise error from None  # it was not the form that the server minded
                    self.structured = False
                    return answer
                except (ValueError, TypeError, AttributeError):  # it answered in a form of its own
                    pass
            return self._read(await self._plain(client, prompt))
        except HOPELESS as error:
            raise UserError(f"{self.model} cannot be asked: {self._message(error)}") from None
        except openai.ContentFilterFinishReasonError:
            return Undecided("the server's filter withheld the answer", failed=True)
        except openai.LengthFinishReasonError:
            return Undecided("the answer was cut off", failed=True)
        except openai.APIError as error:
            return Undecided(self._message(error), failed=True)
        except ValidationError as error:  # in its own words it would repeat the answer
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            return Undecided(self._excerpt(f"the answer cannot be read: {faults}"), failed=True)
        except (ValueError, TypeError, AttributeError) as error:
            return Undecided(self._excerpt(f"the answer cannot be read: {error}"), failed=True)

    async def _structured(self, client: openai.AsyncOpenAI, prompt: str) -> BaseModel | str:
        completion = await client.chat.completions.parse(
            model=self.model, messages=messages(self.values, prompt), response_format=self.answer_model, temperature=0
        )
        message = self._message_of(completion)
        return message.refusal or message.parsed or ""

    async def _plain(self, client: openai.AsyncOpenAI, prompt: str) -> BaseModel | str:
        completion = await client.chat.completions.create(
            model=self.model, messages=messages(self.values, prompt, plain=True), temperature=0
        )
        message = self._message_of(completion)
        found = re.search(r"\{.*\}", message.content or "", re.DOTALL)  # servers put ``` or words around it
        if found is None:
            return message.refusal or message.content or ""
        return self.answer_model.model_validate_json(found[0])

    def _message_of(self, completion: Any) -> Any:
        """The first choice's message; ValueError where there is none, which the library does not check."""
        if isinstance(completion, str):
            raise ValueError("it is no JSON")
        self.usage.add(completion)
        if not completion.choices or completion.choices[0].message is None:
            raise ValueError("it holds no choices")
        return completion.choices[0].message

    def _read(self, said: BaseModel | str) -> RetrievedValue | Undecided:
        if isinstance(said, str):
            return Undecided(f"no answer but {self._excerpt(said)!r}" if said else "an empty answer", failed=True)
        answer: Any = said
        kinds = self.values.kinds
        harms = tuple(each for each, kind in kinds.items() if kind == "harm" and each in answer.values)
        statements = harms or tuple(each for each in kinds if each in answer.values)
        return RetrievedValue(
            statement=statements[0] if statements else None,
            kind=kinds[statements[0]] if statements else None,
            source=self.name,
            confidence=min(max(0.0, answer.confidence), 1.0),  # in this order NaN is 0
            reason=self._excerpt(answer.reason),
            statements=statements,
            person=answer.person,
        )

    def _message(self, error: openai.APIError) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"no answer within --timeout, {self.options.timeout:g} s"
        if isinstance(error, openai.APIConnectionError):
            return self._excerpt(f"no connection to {self._endpoint}: {error.__cause__ or error}")
        return self._excerpt(str(error))

    def _excerpt(self, text: str) -> str:
        return excerpt(text, self._secrets)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


def _without_credentials(address: str | None) -> tuple[str | None, dict[str, str]]:
    """An address, and as headers what stood before its `@`: libraries repeat addresses in messages and logs."""
    if address is None or "@" not in (place := urlsplit(address)).netloc:
        return address, {}
    credentials, _, host = place.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    return place._replace(netloc=host).geturl(), {"Authorization": f"Basic {basic(unquote(user), unquote(password))}"}


def _run(work: Coroutine) -> Any:
    """Wait for a coroutine, in a notebook too, where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
