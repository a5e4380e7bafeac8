"""The gateway as OpenAI's client sees it: a process, a port, the real client."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import openai
import pytest

from sleepmem import SleepMemory

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def say(client, *messages, model="parrot", **options):
    """The completion of a conversation; strings are said in turn, by the user first."""
    sent = []
    for place, message in enumerate(messages):
        if isinstance(message, str):
            message = assistant(message) if place % 2 else user(message)
        sent.append(message)
    return client.chat.completions.create(model=model, messages=sent, **options)


def text_of(completion):
    return completion.choices[0].message.content


def stored(gateway, *owner):
    """What the ledger has of an owner, by source; read beside the gateway that runs."""
    with SleepMemory.open(gateway.folder / "memory", read_only=True) as memory:
        return [(one.source, one.text) for one in memory.ledger.episodes.all(owner)]


def page(url, headers=(), **options):
    """Status, headers and body of a plain request."""
    request = urllib.request.Request(url, headers=dict(headers), **options)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


# The memory's own model


def test_the_memorys_own_model_answers_from_what_was_told_in_another_conversation(own):
    client = own.client("mara")
    assert [model.id for model in client.models.list()] == ["sleepmem"]
    say(client, "Mara has moved to Brenport.", model="sleepmem")
    answer = say(client, "Where does Mara live?", model="sleepmem")
    assert text_of(answer) == "Brenport."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    told = answer.model_extra["sleepmem"]
    assert told["view"] == "retrieval"
    assert len(told["citations"]) == 1


def test_the_memorys_own_model_streams_ends_at_a_limit_and_refuses_tools(own):
    client = own.client("sten")
    say(client, "Sten has moved to Brenport.", model="sleepmem")
    asked = [user("Where does Sten live?")]
    stream = client.chat.completions.create(
        model="sleepmem", messages=asked, stream=True, stream_options={"include_usage": True}
    )
    *chunks, end, usage = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Brenport."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert end.choices[0].finish_reason == "stop"
    assert end.model_extra["sleepmem"]["view"] == "retrieval"
    assert usage.choices == []
    assert usage.usage.completion_tokens > 0
    short = say(client, *asked, model="sleepmem", max_tokens=1)
    assert short.choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError, match="cannot be given tools") as refused:
        say(client, *asked, model="sleepmem", tools=TOOLS)
    assert str(own.folder) not in str(refused.value)
    assert "/" not in refused.value.body["message"]
    with pytest.raises(openai.BadRequestError, match="json_schema"):
        say(client, *asked, model="sleepmem", response_format={"type": "json_object"})
    with pytest.raises(openai.NotFoundError) as missing:
        say(client, *asked, model="gpt-4o")
    assert missing.value.code == "model_not_found"


def test_the_memorys_own_embeddings_are_served(own):
    client = own.client("vector")
    plain = client.embeddings.create(model="any", input=["a boat", "a ship"])
    floats = client.embeddings.create(model="any", input="a boat", encoding_format="float")
    assert len(plain.data) == 2
    assert plain.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert plain.usage.prompt_tokens > 0
    for wrong in ({"input": ""}, {"input": []}, {"input": [[1, 2]]}):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="any", **wrong)
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="any", input="a", dimensions=3)


# An upstream


def test_an_upstream_reads_what_the_memory_recalls_after_the_clients_own_instructions(behind):
    client = behind.client("ines")
    say(client, "My locker has the code 7731.")
    answer = say(
        client,
        {"role": "system", "content": "Be brief."},
        user("What is the code of my locker?"),
        temperature=0,
        max_tokens=50,
    )
    seen = text_of(answer)
    assert seen.startswith("Be brief.")
    assert "My locker has the code 7731." in seen
    assert answer.model == "parrot"
    assert answer.usage.completion_tokens > 3


def test_what_is_sent_again_with_every_turn_is_stored_once(behind):
    client = behind.client("history")
    said = ["I keep bees.", "Noted.", "I have nine hives.", "Noted.", "The oldest is blue."]
    for turn in (1, 3, 5, 5):
        say(client, *said[:turn])
    texts = [text for source, text in stored(behind, "history") if source == "user"]
    assert texts == ["I keep bees.", "I have nine hives.", "The oldest is blue."]


def test_a_named_conversation_is_stored_once_however_it_is_interleaved(behind):
    client = behind.client("two-tabs")
    first, second = {"X-Conversation-Id": "a"}, {"X-Conversation-Id": "b"}
    for _ in range(2):
        say(client, "I live in Arnhem.", extra_headers=first)
        say(client, "I live in Brest.", extra_headers=second)
    third = {"X-Conversation-Id": "c"}
    say(client, "I live in Arnhem.", extra_headers=third)
    texts = [text for _, text in stored(behind, "two-tabs")]
    assert texts == ["I live in Arnhem.", "I live in Brest.", "I live in Arnhem."]


def test_the_same_sent_many_times_at_once_in_a_named_conversation_is_stored_once(behind):
    key = behind.key("impatient")

    async def all_at_once():
        async with openai.AsyncOpenAI(
            base_url=f"{behind.url}/v1", api_key=key, max_retries=0
        ) as client:
            asked = client.chat.completions.create
            calls = []
            for _ in range(6):
                calls.append(
                    asked(
                        model="parrot",
                        messages=[user("My boat is called Ada.")],
                        extra_headers={"X-Conversation-Id": "boat"},
                    )
                )
            return await asyncio.gather(*calls)

    assert [text_of(one) for one in asyncio.run(all_at_once())] == ["Noted."] * 6
    assert stored(behind, "impatient") == [("user", "My boat is called Ada.")]


def test_the_async_client_streams(behind):
    key = behind.key("async")

    async def talk():
        pieces = []
        client = openai.AsyncOpenAI(base_url=f"{behind.url}/v1", api_key=key)
        said = [user("My cat is called Tom.")]
        async with client, client.chat.completions.stream(model="parrot", messages=said) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    pieces.append(event.delta)
            final = await stream.get_final_completion()
        return pieces, final

    pieces, final = asyncio.run(talk())
    assert "".join(pieces) == text_of(final) == "Noted."
    assert final.choices[0].finish_reason == "stop"
    assert stored(behind, "async") == [("user", "My cat is called Tom.")]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_tool_is_called_and_its_result_is_remembered_under_its_name(behind, choice):
    owner = f"tools-{choice if isinstance(choice, str) else 'named'}"
    client = behind.client(owner)
    question = user("What is the weather in Paris?")
    called = say(client, question, tools=TOOLS, tool_choice=choice)
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "get_weather",
        {"city": "Paris"},
    )
    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains, 12 degrees."}
    asked = called.choices[0].message.model_dump(exclude_none=True)
    done = say(client, question, asked, result, tools=TOOLS)
    assert text_of(done) == "The tool says: It rains, 12 degrees."
    found = stored(behind, owner)
    assert found.count(("user", "What is the weather in Paris?")) == 1
    assert ("tool:get_weather", "It rains, 12 degrees.") in found
    assert any(source == "agent" for source, _ in found)


@pytest.mark.parametrize("headers", [{}, {"X-Conversation-Id": "steps"}])
def test_each_result_of_a_turn_of_many_steps_is_stored_once(behind, headers):
    owner = f"steps-{len(headers)}"
    client = behind.client(owner)
    sent = [user("What is the weather in Paris, Oslo and Rome?")]
    found = ["It rains, 12 degrees.", "It snows, -3 degrees.", "No such city.", "It is dry."]
    for number, result in enumerate(found):
        call = {"name": "get_weather", "arguments": '{"ci' if number == 2 else ""}
        calls = [{"id": f"c{number}", "type": "function", "function": call}]
        sent += [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"c{number}", "content": result},
        ]
        answer = say(client, *sent, tools=TOOLS, extra_headers=headers)
        assert text_of(answer) == f"The tool says: {result}"
    results = [text for source, text in stored(behind, owner) if source == "tool:get_weather"]
    assert results == found


def test_a_call_of_a_tool_is_streamed_and_none_is_made_where_none_may_be(behind):
    client = behind.client("streamed-tools")
    question = user("What is the weather in Paris?")
    with client.chat.completions.stream(
        model="parrot", messages=[question], tools=TOOLS, tool_choice="required"
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert final.choices[0].finish_reason == "tool_calls"
    for more in ({}, {"parallel_tool_calls": False}, {"stream": True}):
        free = say(client, question, tools=TOOLS, tool_choice="none", **more)
        chosen = next(iter(free)) if more.get("stream") else free
        assert "tool_calls" not in chosen.choices[0].model_dump_json(exclude_none=True)
    with pytest.raises(openai.BadRequestError, match="needs tools"):
        say(client, question, tool_choice="none")


def test_the_upstreams_models_embeddings_and_refusals_are_handed_on(behind):
    client = behind.client("passed")
    assert [model.id for model in client.models.list()] == ["parrot"]
    assert client.embeddings.create(model="parrot", input="abcd").data[0].embedding == [4.0]
    with pytest.raises(openai.NotFoundError) as missing:
        say(client, "Hello there.", model="other")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        say(client, "Hello there.", model="other", stream=True)


def test_an_upstream_that_is_not_there_is_told_of_and_what_was_said_is_kept(start):
    gateway = start("alone", "--upstream", "http://127.0.0.1:9/v1", ready="/healthz")
    client = gateway.client("alone")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as failed:
            say(client, "My bike is red.")
        assert failed.value.status_code == 502
    with pytest.raises(openai.InternalServerError):
        client.models.list()
    assert page(f"{gateway.url}/readyz")[0] == 503
    assert page(f"{gateway.url}/healthz")[0] == 200
    assert stored(gateway, "alone") == [("user", "My bike is red.")]
    assert "red" not in (gateway.folder / "gateway.log").read_text()


# Who asks


def test_nobody_reads_anothers_memory_by_calling_themselves_so(behind):
    alice, mallory = behind.client("alice"), behind.client("mallory")
    say(alice, "My safe has the code 4812.", user="mallory")
    for name in ("alice", "mallory", '["alice"]', "alice/", "{user_id}"):
        seen = text_of(say(mallory, "What is the code of my safe?", user=name))
        assert "4812" not in seen
    assert "4812" in text_of(say(alice, "What is the code of my safe?", user="mallory"))


def test_a_services_key_keeps_its_users_apart(behind):
    service = behind.client(key=behind.key("shop", many=True))
    say(service, "My locker has the code 9001.", user="bob")
    assert "9001" in text_of(say(service, "What is the code of my locker?", user="bob"))
    assert "9001" not in text_of(say(service, "What is the code of my locker?", user="eve"))
    bob = behind.client("bob")
    assert "9001" not in text_of(say(bob, "What is the code of my locker?"))
    with pytest.raises(openai.BadRequestError, match="Set `user`"):
        say(service, "Hello there.")
    names = {source for source, _ in stored(behind, "shop", "bob")}
    assert names == {"user"}


@pytest.mark.parametrize("key", ["sk-sleepmem-wrong", "x" * 10_000, "sk-sleepmem-"])
def test_who_has_no_key_gets_nothing(behind, key):
    client = behind.client(key=key)
    for call in (
        lambda: say(client, "Hello there."),
        lambda: client.models.list(),
        lambda: client.embeddings.create(model="m", input="a"),
    ):
        with pytest.raises(openai.AuthenticationError) as refused:
            call()
        assert refused.value.code == "invalid_api_key"


def test_a_revoked_key_is_refused_by_the_gateway_that_runs(behind):
    client = behind.client("leaver")
    client.models.list()
    (key,) = [key for key in behind.keys.all() if key.owner == ("leaver",)]
    behind.keys.revoke(key.id)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


# Forgetting


def test_what_is_asked_to_be_forgotten_is_gone_after_a_yes_in_bare_words(behind):
    client = behind.client("forgets")
    wish = "Please forget my phone number."
    say(client, "My phone number is 555-0199.")
    asked = say(client, wish)
    assert "555-0199" in text_of(asked)
    say(client, wish, text_of(asked), "No, keep it.")
    assert any("555" in text for _, text in stored(behind, "forgets"))
    forged = text_of(asked).replace("555-0199", "555-0000")
    say(client, wish, forged, "Yes, please do.")
    assert any("555" in text for _, text in stored(behind, "forgets"))
    done = say(client, wish, text_of(asked), "Yes, please do.")
    assert done.model_extra["sleepmem"]["receipt"] == 1
    later = "I have a new phone."
    say(client, wish, text_of(asked), "Yes, please do.", text_of(done), later)
    left = [text for _, text in stored(behind, "forgets")]
    assert left == [later]


@pytest.mark.parametrize("headers", [{}, {"X-Conversation-Id": "one"}])
def test_what_was_forgotten_stays_so_though_the_client_sends_it_again(behind, headers):
    owner = f"forgets-{len(headers)}"
    client = behind.client(owner)
    said = []
    for text in (
        "My phone number is 555-0199.",
        "Please forget my phone number.",
        "Yes, please do.",
        "I have a new phone.",
    ):
        said.append(text)
        said.append(text_of(say(client, *said, extra_headers=headers)))
        if text.startswith("Yes"):
            assert stored(behind, owner) == []
    assert "(receipt" in said[5]
    assert stored(behind, owner) == [("user", "I have a new phone.")]


# Limits, health, metrics


def test_limits_answer_with_when_to_try_again(start, parrot):
    options = ["--per-minute", "4", "--at-once-per-owner", "1", "--most-bytes", "2000"]
    gateway = start("limits", "--upstream", f"{parrot.url}/v1", *options)
    client = gateway.client("eager")
    with pytest.raises(openai.APIStatusError, match="larger than 2000 bytes") as refused:
        say(client, "x" * 3_000)
    assert refused.value.status_code == 413
    for number in range(4):
        say(client, f"I have {number} apples.")
    with pytest.raises(openai.RateLimitError) as slow:
        say(client, "I have no apples.")
    assert 1 <= int(slow.value.response.headers["retry-after"]) <= 61
    assert slow.value.code == "rate_limit_exceeded"
    say(gateway.client("patient"), "I have a pear.")


def test_only_json_is_taken_so_no_web_page_can_speak_in_somebodys_name(start, parrot):
    gateway = start("open", "--upstream", f"{parrot.url}/v1", with_keys=False)
    url = f"{gateway.url}/v1/chat/completions"
    body = json.dumps({"model": "parrot", "messages": [user("I was hacked.")]}).encode()
    status, _, told = page(url, {"Content-Type": "text/plain"}, data=body)
    assert status == 415
    assert json.loads(told)["error"]["type"] == "invalid_request_error"
    elsewhere = {"Content-Type": "application/json"}
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:127.0.0.1", "", "[::1"):
        status, _, told = page(url, {**elsewhere, "Host": host}, data=body)
        assert (status, json.loads(told)["error"]["code"]) == (400, "unknown_host")
    for host in ("LocalHost:80", "[::1]:8642", "127.0.0.1"):
        assert page(f"{gateway.url}/v1/models", {"Host": host})[0] == 200
    assert stored(gateway, "default") == []
    anybody = gateway.client(key="none")
    say(anybody, "My dog is called Rex.", user="rex")
    say(anybody, "My dog is called Max.")
    assert stored(gateway, "rex") == [("user", "My dog is called Rex.")]
    assert stored(gateway, "default") == [("user", "My dog is called Max.")]


def test_metrics_count_and_name_nobody(behind):
    client = behind.client("counted-owner")
    say(client, "My kite is green.")
    say(client, "What colour is my kite?")
    page(f"{behind.url}/v1/nowhere/counted-path")
    status, headers, text = page(f"{behind.url}/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    answered = (
        r'^sleepmem_gateway_requests_total\{route="/v1/chat/completions",status="200"\} (\S+)'
    )
    assert float(re.search(answered, text, re.MULTILINE)[1]) >= 2
    decided = r'^sleepmem_decisions_total\{look="first",view="retrieval"\} (\S+)$'
    assert float(re.search(decided, text, re.MULTILINE)[1]) >= 1
    tokens = r'^sleepmem_recalled_tokens_total\{look="first"\} (\S+)$'
    assert float(re.search(tokens, text, re.MULTILINE)[1]) > 0
    assert "counted" not in text
    assert "kite" not in text


def test_health_needs_no_key_and_what_is_not_served_is_told(behind):
    assert page(f"{behind.url}/healthz")[0] == 200
    assert page(f"{behind.url}/readyz")[2] == '{"ready":true}'
    status, _, told = page(f"{behind.url}/v1/audio/speech")
    assert (status, json.loads(told)["error"]["code"]) == (404, "unknown_url")
    assert page(f"{behind.url}/v1/chat/completions")[0] == 405
    assert page(f"{behind.url}/")[0] == 404


def test_nothing_that_was_said_is_in_the_log(behind):
    log = (behind.folder / "gateway.log").read_text()
    for word in ("sk-sleepmem", "locker", "4812", "Paris"):
        assert word not in log


def test_importing_the_package_loads_no_torch():
    code = "import sys, sleepmem_openai.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
