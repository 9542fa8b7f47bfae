"""Calls the service with clients for Python, each with the settings that it has by itself.

Reads one call per line from standard input, as JSON {id, client, form, base_url, api_key, prompt, timeout?}, makes them all
at the same time, and prints how each ended as it does: {id, tries, answer} or {id, tries, error}. `tries` is how often the
client asked. A streamed answer is the list of its pieces, a structured one an object, any other a text.
"""

import asyncio
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx2
import openai
from pydantic import BaseModel

MODEL = "sonnet"
WORDS = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
PAY = {"type": "function", "function": {"name": "pay", "parameters": WORDS}}
MUST_PAY = {"type": "function", "function": {"name": "pay"}}

# How often each prompt was sent: the prompt of each call is another one.
asked = Counter()


class Answer(BaseModel):
    a: int


class Failure(Exception):
    """What a client would show to its user."""


def messages(call):
    return [{"role": "user", "content": call["prompt"]}]


def connect(kind, call):
    settings = {"base_url": call["base_url"], "api_key": call["api_key"]}
    if "timeout" in call:
        settings["timeout"] = call["timeout"]
    return kind(**settings)


def collected(pieces):
    return [piece for piece in pieces if piece]


def piece_of(chunk):
    return chunk.choices[0].delta.content if chunk.choices else None


def called(completion):
    (tool_call,) = completion.choices[0].message.tool_calls
    return {tool_call.function.name: json.loads(tool_call.function.arguments)}


def told(event):
    """The text of one event of a response; raises what a failed one tells."""
    if event.type == "response.failed":
        raise Failure(event.response.error.message)
    if event.type == "error":
        raise Failure(event.message)
    return event.delta if event.type == "response.output_text.delta" else None


def forms_of(completions, responses, call):
    """What to ask in each form, for a client that waits and for one that is awaited alike."""
    chat = {"model": MODEL, "messages": messages(call)}
    response = {"model": MODEL, "input": call["prompt"]}
    return {
        "plain": lambda: completions.create(**chat),
        "streamed": lambda: completions.create(**chat, stream=True, stream_options={"include_usage": True}),
        "parsed": lambda: completions.parse(**chat, response_format=Answer),
        "called": lambda: completions.create(**chat, tools=[PAY], tool_choice=MUST_PAY),
        "a response": lambda: responses.create(**response),
        "a streamed response": lambda: responses.create(**response, stream=True),
        "a parsed response": lambda: responses.parse(**response, text_format=Answer),
    }[call["form"]]


READ = {
    "plain": lambda completion: completion.choices[0].message.content or completion.choices[0].message.refusal,
    "parsed": lambda completion: completion.choices[0].message.parsed.model_dump(),
    "called": called,
    "a response": lambda response: response.output_text,
    "a parsed response": lambda response: response.output_parsed.model_dump(),
}
PIECE = {"streamed": piece_of, "a streamed response": told}


def ask_waiting(call):
    client = connect(openai.OpenAI, call)
    result = forms_of(client.chat.completions, client.responses, call)()
    if call["form"] in READ:
        return READ[call["form"]](result)
    return collected(PIECE[call["form"]](event) for event in result)


async def ask_openai(call):
    return await asyncio.to_thread(ask_waiting, call)


async def ask_async_openai(call):
    client = connect(openai.AsyncOpenAI, call)
    result = await forms_of(client.chat.completions, client.responses, call)()
    if call["form"] in READ:
        return READ[call["form"]](result)
    return collected([PIECE[call["form"]](event) async for event in result])


async def ask_home_assistant(call):
    """The request of its conversation and of its tasks: a streamed response, over an HTTP client that it shares."""
    client = openai.AsyncOpenAI(
        base_url=call["base_url"], api_key=call["api_key"], http_client=httpx2.AsyncClient()
    )
    request = {
        "model": MODEL,
        "input": [{"type": "message", "role": "user", "content": call["prompt"]}],
        "max_output_tokens": 3000,
        "top_p": 1.0,
        "temperature": 1.0,
        "user": "conversation",
        "store": False,
        "tools": [{"type": "function", "name": "HassTurnOn", "parameters": WORDS, "description": None, "strict": False}],
        "stream": True,
    }
    if call["form"] == "parsed":
        request["text"] = {"format": {"type": "json_schema", "name": "task", "schema": WORDS}}
    pieces = collected([told(event) async for event in await client.responses.create(**request)])
    return json.loads("".join(pieces)) if call["form"] == "parsed" else pieces


async def ask_open_webui(call):
    """Passes on what it gets: an event stream as it is, all else as JSON, an error with its status."""
    body = {"model": MODEL, "messages": messages(call), "stream": call["form"] == "streamed"}
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    if call["form"] == "parsed":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": WORDS}}
    headers = {"Authorization": f"Bearer {call['api_key']}", "Content-Type": "application/json"}
    asked[call["prompt"]] += 1
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session:
        async with session.post(f"{call['base_url']}/chat/completions", data=json.dumps(body), headers=headers) as answer:
            if "text/event-stream" not in answer.headers.get("Content-Type", ""):
                return read_passed(call, answer.status, await answer.json())
            return [piece async for piece in passed_pieces(answer.content)]


def read_passed(call, status, body):
    if status >= 400:
        raise Failure(f"{status}: {body['error']['message']}")
    content = body["choices"][0]["message"]["content"]
    return json.loads(content) if call["form"] == "parsed" else content


async def passed_pieces(lines):
    async for line in lines:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        chunk = json.loads(line[len(b"data: ") :])
        if "error" in chunk:
            raise Failure(chunk["error"]["message"])
        if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
            yield chunk["choices"][0]["delta"]["content"]


CLIENTS = {
    "openai": ask_openai,
    "openai, async": ask_async_openai,
    "Home Assistant": ask_home_assistant,
    "Open WebUI": ask_open_webui,
}


def count_tries():
    """Counts what is sent with the HTTP client of the SDK, below its retries.

    Not where no connection was made: on a busy machine the five seconds that SDKs have for that may pass in this program.
    """

    def count(request, times):
        body = json.loads(request.content) if request.content else {}
        text = body.get("input") or (body.get("messages") or [{}])[-1].get("content")
        asked[text if isinstance(text, str) else (text or [{}])[-1].get("content")] += times

    wait, send = httpx2.Client.send, httpx2.AsyncClient.send

    def counted(self, request, **options):
        count(request, 1)
        try:
            return wait(self, request, **options)
        except (httpx2.ConnectTimeout, httpx2.ConnectError):
            count(request, -1)
            raise

    async def counted_async(self, request, **options):
        count(request, 1)
        try:
            return await send(self, request, **options)
        except (httpx2.ConnectTimeout, httpx2.ConnectError):
            count(request, -1)
            raise

    httpx2.Client.send, httpx2.AsyncClient.send = counted, counted_async


async def perform(call):
    try:
        end = {"answer": await CLIENTS[call["client"]](call)}
    except Exception as error:  # Whatever it is, it is what the test wants to see.
        end = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"id": call["id"], "tries": asked[call["prompt"]], **end}), flush=True)


async def main():
    count_tries()
    # Clients that wait hold a thread each, and none is to wait for another.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=100))
    async with asyncio.TaskGroup() as calls:
        while line := await asyncio.to_thread(sys.stdin.readline):
            calls.create_task(perform(json.loads(line)))


asyncio.run(main())
