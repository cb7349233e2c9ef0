"""The chat-completion dialect: a body in, a checked `Ask` in canonical form out.

Types and ranges come from the one table of fields (providers/fields.py); what is checked here are the parts with
an inner shape: messages, tools, tool_choice, response_format, stop. Each fault is an InvalidRequest that names the
field. Canonical form is described at `providers.wire.ChatRequest`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.ask import NO_WISHES, Ask, parse_wishes, split_model
from gateway.errors import InvalidRequest
from providers.fields import FIELDS, Field, features_of
from providers.wire import ChatRequest, JsonError, JsonObject, decode_json, encode_json

DEPTH_MAX: Final = 64
NODES_MAX: Final = 100_000
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "number": ((int, float), "a number"),
    "integer": ((int,), "an integer"),
    "boolean": ((bool,), "true or false"),
    "string": ((str,), "a string"),
    "object": ((dict,), "an object"),
    "list": ((list,), "a list"),
}
_STRING_OR_NONE: Final = (str, type(None))


def read(raw: bytes) -> Ask:
    """The body of `POST /v1/chat/completions`. Raises InvalidRequest."""
    body = parse_object(raw)
    name = body.pop("model", None)
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            'model: expected a Hub model id such as "meta-llama/Llama-3.3-70B-Instruct".', param="model"
        )
    wishes_part = body.pop("provider", None)
    wishes = NO_WISHES if wishes_part is None else parse_wishes(wishes_part)
    for key in [key for key, value in body.items() if value is None]:
        del body[key]
    for key, value in body.items():
        field = FIELDS.get(key)
        if field is not None and field.kind != "any":
            if key == "stop" and isinstance(value, str):
                continue
            _check(field, value)
    size, images = _check_messages(body)
    _check_sampling(body)
    _check_tools(body)
    if "response_format" in body:
        body["response_format"] = response_format(body["response_format"])
        size += len(encode_json(body["response_format"]))
    if "tools" in body:
        size += len(encode_json(body["tools"]))
    model, suffix = split_model(name)
    stream = body.pop("stream", False)
    options = body.pop("stream_options", None) or {}
    request = ChatRequest(
        hub_model=model,
        body=body,
        stream=stream,
        wants_usage=stream and options.get("include_usage") is True,
        choices=body.get("n", 1),
    )
    return Ask(
        request=request,
        model=model,
        suffix=suffix,
        wishes=wishes,
        features=features_of(body, images=images),
        prompt_bytes=size,
        messages=len(body["messages"]),
        images=images,
        max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
    )


def parse_object(raw: bytes) -> JsonObject:
    """A JSON object that is not nested absurdly. Raises InvalidRequest."""
    try:
        body = decode_json(raw)
    except (JsonError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not JSON: {str(error)[:200]}.", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {DEPTH_MAX} levels.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body is not a JSON object.", code="invalid_json")
    # Fewer brackets than levels allowed: it cannot be too deep. Counting them is a memchr; walking is not.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX or raw.count(b",") > NODES_MAX:
        _check_depth(body)
    return body


def _check_depth(body: JsonObject) -> None:
    level: list[Any] = [body]
    nodes = 0
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            nodes += len(node)
            below.extend(child for child in children if isinstance(child, dict | list))
        if nodes > NODES_MAX:
            raise InvalidRequest(f"The body holds more than {NODES_MAX} values.", code="invalid_json")
        if not below:
            return
        level = below
    raise InvalidRequest(f"The body is nested deeper than {DEPTH_MAX} levels.", code="invalid_json")


def _check(field: Field, value: Any) -> None:
    types, expected = _KINDS[field.kind]
    if isinstance(value, bool) is not (field.kind == "boolean") or not isinstance(value, types):
        raise InvalidRequest(f"{field.name}: expected {expected}.", param=field.name)
    if field.low is None and field.high is None:
        return
    sized: Any = value
    measured = len(sized) if field.kind in ("list", "string") else sized
    if (field.low is not None and measured < field.low) or (field.high is not None and measured > field.high):
        raise InvalidRequest(f"{field.name}: expected {_range_words(field)}.", param=field.name)


def _range_words(field: Field) -> str:
    what = {"list": "a list of length", "integer": "an integer"}.get(field.kind, "a number")
    if field.high is None:
        return f"{what} of at least {field.low:g}"
    if field.low is None:
        return f"{what} of at most {field.high:g}"
    return (
        f"{what} {field.low:g} to {field.high:g}"
        if field.kind == "list"
        else (f"{what} between {field.low:g} and {field.high:g}")
    )


def _check_sampling(body: JsonObject) -> None:
    stop = body.get("stop")
    if isinstance(stop, str):
        body["stop"] = [stop]
    elif stop is not None and not all(isinstance(item, str) for item in stop):
        raise InvalidRequest("stop: expected a string, or a list of up to 4 strings.", param="stop")
    biases = body.get("logit_bias")
    if biases is not None and not all(type(bias) in (int, float) for bias in biases.values()):
        raise InvalidRequest("logit_bias: expected an object of numbers by token id.", param="logit_bias")
    if "top_logprobs" in body and body.get("logprobs") is not True:
        raise InvalidRequest("top_logprobs: needs logprobs to be true.", param="top_logprobs")
    options = body.get("stream_options")
    if options is not None and not isinstance(options.get("include_usage", False), bool | None):
        raise InvalidRequest(
            "stream_options.include_usage: expected true or false.", param="stream_options.include_usage"
        )
    if "max_completion_tokens" in body:
        # The newer name of the same thing; providers that know both refuse to get both.
        body.pop("max_tokens", None)


def _check_messages(body: JsonObject) -> tuple[int, int]:
    """Puts the messages in canonical form, in place; returns the bytes of their text and the number of images."""
    messages = body.get("messages")
    if messages is None:
        raise InvalidRequest("messages: required; a list of objects with a role and a content.", param="messages")
    size = images = 0
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest(f"messages[{i}]: expected an object.", param=f"messages[{i}]")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise InvalidRequest(
                f"messages[{i}].role: expected one of {', '.join(sorted(ROLES))}.", param=f"messages[{i}].role"
            )
        content = message.get("content")
        if isinstance(content, str):
            size += len(content) if content.isascii() else len(content.encode())
        elif isinstance(content, list):
            text_bytes, pictures = _check_parts(i, content)
            size += text_bytes
            images += pictures
        elif content is not None:
            raise InvalidRequest(
                f"messages[{i}].content: expected a string or a list of parts.", param=f"messages[{i}].content"
            )
        elif not (role in ("assistant", "tool", "function") or message.get("tool_calls")):
            raise InvalidRequest(f"messages[{i}].content: required.", param=f"messages[{i}].content")
        if len(message) == 2 and content is not None:
            continue  # a role and a content, as nearly all have it: there is nothing else to look at
        for name in ("name", "tool_call_id"):
            if not isinstance(message.get(name), _STRING_OR_NONE):
                raise InvalidRequest(f"messages[{i}].{name}: expected a string.", param=f"messages[{i}].{name}")
        if message.get("tool_calls") is not None:
            size += _check_history_calls(i, message)
    return size, images


def _check_parts(i: int, parts: list[Any]) -> tuple[int, int]:
    """The bytes of their text, and how many are images."""
    size = images = 0
    for j, part in enumerate(parts):
        where = f"messages[{i}].content[{j}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            if not isinstance(part.get("text"), str):
                raise InvalidRequest(f"{where}.text: expected a string.", param=f"{where}.text")
            size += len(part["text"].encode())
        elif kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:image/")):
                raise InvalidRequest(
                    f"{where}.image_url.url: expected an http(s) URL or a data:image/… URL.",
                    param=f"{where}.image_url.url",
                )
            images += 1
        else:
            raise InvalidRequest(f'{where}.type: expected "text" or "image_url".', param=f"{where}.type")
    return size, images


def _check_history_calls(i: int, message: JsonObject) -> int:
    """Tool calls of the past: `parameters`, as the Hugging Face specification has it, become `arguments`."""
    calls = message["tool_calls"]
    if not isinstance(calls, list):
        raise InvalidRequest(f"messages[{i}].tool_calls: expected a list.", param=f"messages[{i}].tool_calls")
    size = 0
    for j, call in enumerate(calls):
        where = f"messages[{i}].tool_calls[{j}].function"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{where}.name: expected a string.", param=f"{where}.name")
        if not isinstance(call.get("id"), str | None):
            raise InvalidRequest(
                f"messages[{i}].tool_calls[{j}].id: expected a string.", param=f"messages[{i}].tool_calls[{j}].id"
            )
        call.setdefault("type", "function")
        parameters = function.pop("parameters", None)
        arguments = function.get("arguments", parameters)
        if not isinstance(arguments, str):
            arguments = encode_json({} if arguments is None else arguments).decode()
        function["arguments"] = arguments
        size += len(arguments.encode()) + len(function["name"])
    if not calls:
        del message["tool_calls"]
    return size


def _check_tools(body: JsonObject) -> None:
    tools = body.get("tools")
    if tools is None and "tool_choice" not in body:
        return
    if tools is not None and not tools:
        del body["tools"]
        tools = None
    names: set[str] = set()
    for i, tool in enumerate(tools or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise InvalidRequest(f"tools[{i}].function: expected an object with a name.", param=f"tools[{i}].function")
        if tool.setdefault("type", "function") != "function":
            raise InvalidRequest(f'tools[{i}].type: expected "function".', param=f"tools[{i}].type")
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidRequest(f"tools[{i}].function.name: expected a string.", param=f"tools[{i}].function.name")
        for name, kind, expected in (("parameters", dict, "a JSON schema"), ("description", str, "a string")):
            if not isinstance(function.get(name), kind | None):
                where = f"tools[{i}].function.{name}"
                raise InvalidRequest(f"{where}: expected {expected}.", param=where)
        names.add(function["name"])
    choice = body.get("tool_choice")
    if choice is None:
        return
    if tools is None:
        if choice in ("auto", "none"):
            del body["tool_choice"]  # says what happens anyway; some providers refuse it without tools
            return
        raise InvalidRequest("tool_choice: needs tools.", param="tool_choice")
    body["tool_choice"] = _tool_choice(choice, names)


def _tool_choice(choice: Any, names: set[str]) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    function = choice.get("function") if isinstance(choice, dict) else None
    # TGI's older clients name the function by a bare string.
    name = function.get("name") if isinstance(function, dict) else choice
    if isinstance(name, str) and name in names:
        return {"type": "function", "function": {"name": name}}
    raise InvalidRequest(
        'tool_choice: expected "auto", "none", "required", or {"type": "function", "function": {"name": …}} '
        "with the name of one of the tools.",
        param="tool_choice",
    )


def response_format(value: JsonObject) -> JsonObject:
    """All forms that clients send, OpenAI's and Hugging Face's of two generations, to the canonical one."""
    kind = value.get("type")
    if kind == "text":
        return {"type": "text"}
    if kind == "regex":
        if not isinstance(value.get("value"), str) or not value["value"]:
            raise _format_fault("value", "a regular expression as a string")
        return {"type": "regex", "value": value["value"]}
    if kind not in ("json", "json_object", "json_schema"):
        raise _format_fault("type", "one of text, json_object, json_schema, json, regex")
    named = value.get("json_schema")
    schema: Any = named if named is not None else value.get("value", value.get("schema"))
    if schema is None:
        if kind == "json_object":
            return {"type": "json_object"}
        raise _format_fault("json_schema" if kind == "json_schema" else "value", "a JSON schema")
    if isinstance(schema, str):
        schema = _schema_text(schema)
    if not isinstance(schema, dict):
        raise _format_fault("value", "a JSON schema as an object, or as a string that holds one")
    # {"name"?, "schema"} around the schema, as OpenAI and the newer Hugging Face form have it, or the schema alone.
    wrapped = named is not None or (kind == "json_schema" and "schema" in schema and "type" not in schema)
    envelope: JsonObject = {}
    if wrapped:
        envelope, schema = schema, schema.get("schema")
        if isinstance(schema, str):
            schema = _schema_text(schema)
        if not isinstance(schema, dict):
            raise _format_fault("json_schema.schema", "a JSON schema as an object")
    name = envelope.get("name") or "response"
    if not isinstance(name, str):
        raise _format_fault("json_schema.name", "a string")
    canonical: JsonObject = {"name": name, "schema": schema}
    for extra in ("description", "strict"):
        if envelope.get(extra) is not None:
            canonical[extra] = envelope[extra]
    return {"type": "json_schema", "json_schema": canonical}


def _schema_text(text: str) -> Any:
    try:
        return decode_json(text)
    except JsonError:
        raise _format_fault("value", "a JSON schema; this string is not JSON") from None


def _format_fault(name: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"response_format.{name}: expected {expected}.", param=f"response_format.{name}")
