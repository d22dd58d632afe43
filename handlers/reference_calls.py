"""The reference of the public API: what an API key is good for."""

from __future__ import annotations

from typing import Final

from handlers.reference import (
    KEY,
    NOBODY,
    Chapter,
    Endpoint,
    Field,
    array,
    boolean,
    integer,
    listed,
    maybe,
    number,
    record,
    string,
)

ANY: Final = {"type": "object"}
MODEL: Final = Field(
    "model", string(), "A name from the list of models, an alias, or `provider/model`.", True
)
USAGE: Final = record(prompt_tokens=integer(), total_tokens=integer())
STREAM: Final = Field("stream", boolean(), "Send the answer in pieces, as server-sent events.")
STREAM_OPTIONS: Final = Field(
    "stream_options",
    {"type": "object"},
    "`include_usage`: one more chunk, with the tokens that were used; `include_cost`: and their cost.",
)
SAMPLING: Final = (
    Field(
        "temperature", maybe(number(minimum=0, maximum=2)), "How freely it chooses its words; 1 if left out."
    ),
    Field("top_p", maybe(number(minimum=0, maximum=1)), "Choose among the likeliest words up to this share."),
    Field("n", maybe(integer(minimum=1, maximum=128)), "How many answers to give."),
    Field("stop", {"type": ["string", "array", "null"]}, "Up to four texts that end the answer."),
    Field("max_tokens", maybe(integer(minimum=1)), "The most tokens of an answer."),
    Field("presence_penalty", maybe(number(minimum=-2, maximum=2)), "Above 0: new subjects are preferred."),
    Field("frequency_penalty", maybe(number(minimum=-2, maximum=2)), "Above 0: words are not repeated."),
    Field("user", string(), "A name of your own for whoever asks."),
)
REFUSED: Final = (400, 402, 404, 408, 413, 502, 503, 504)
LISTED_MODEL: Final = record(id=string(), object=string(), created=integer(), owned_by=string())
HELLO: Final = '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello!"}]}'

INFERENCE: Final = Chapter(
    "Calls to models",
    "Paid by the key's budget and counted by its limits. Fields that are not listed here are passed on.",
    (
        Endpoint(
            "POST",
            "/v1/chat/completions",
            "Chat",
            "Answers a conversation. Tools, images, JSON schemas and reasoning are those of OpenAI's API, "
            "whoever serves the model.",
            KEY,
            record(id=string(), object=string(), created=integer(), model=string(), choices=array(ANY)),
            body=(
                MODEL,
                Field(
                    "messages",
                    array({"type": "object"}, minItems=1),
                    "What was said: each with a `role` and its `content`.",
                    True,
                ),
                *SAMPLING,
                Field("max_completion_tokens", maybe(integer(minimum=1)), "As `max_tokens`, its newer name."),
                STREAM,
                STREAM_OPTIONS,
                Field("tools", array({"type": "object"}), "Functions that the model may call."),
                Field(
                    "tool_choice",
                    {"type": ["string", "object"]},
                    "`auto`, `none`, `required`, or one of them.",
                ),
                Field("response_format", {"type": "object"}, "`json_object`, or a `json_schema`."),
                Field(
                    "reasoning_effort",
                    string(),
                    "How long it thinks: `none` to `max`, as the model has them.",
                ),
            ),
            statuses=REFUSED,
            example=HELLO,
            has_stream=True,
            is_open=True,
        ),
        Endpoint(
            "POST",
            "/v1/completions",
            "Completions (legacy)",
            "Goes on with a text. Models that only chat answer too.",
            KEY,
            record(id=string(), object=string(), created=integer(), model=string(), choices=array(ANY)),
            body=(
                MODEL,
                Field("prompt", {"type": ["string", "array"]}, "The text, or several.", True),
                Field("suffix", maybe(string()), "What comes after the text that is written."),
                *SAMPLING,
                STREAM,
                STREAM_OPTIONS,
            ),
            statuses=REFUSED,
            example='{"model": "MODEL", "prompt": "Once upon a time", "max_tokens": 50}',
            has_stream=True,
            is_open=True,
        ),
        Endpoint(
            "POST",
            "/v1/embeddings",
            "Embeddings",
            "Texts as vectors.",
            KEY,
            record(object=string(), data=array(ANY), model=string(), usage=USAGE),
            body=(
                MODEL,
                Field("input", {"type": ["string", "array"]}, "A text, or several.", True),
                Field("encoding_format", string(enum=["float", "base64"]), "`float` if left out."),
                Field(
                    "dimensions",
                    maybe(integer(minimum=1)),
                    "How long the vectors are, where the model lets choose.",
                ),
                Field("user", string(), "A name of your own for whoever asks."),
            ),
            statuses=REFUSED,
            example='{"model": "MODEL", "input": "The quick brown fox"}',
            is_open=True,
        ),
        Endpoint(
            "POST",
            "/v1/messages",
            "Messages (Anthropic's format)",
            "For clients of Anthropic's Messages API, on any model. The key may come as `x-api-key` as well; "
            "errors have Anthropic's envelope.",
            KEY,
            record(id=string(), type=string(), role=string(), content=array(ANY), model=string(), usage=ANY),
            body=(
                MODEL,
                Field("messages", array({"type": "object"}, minItems=1), "What was said.", True),
                Field("max_tokens", integer(minimum=1), "The most tokens of the answer.", True),
                Field("system", {"type": ["string", "array"]}, "Instructions."),
                STREAM,
            ),
            statuses=(*REFUSED, 529),
            example='{"max_tokens": 500, "model": "MODEL", "messages": [{"role": "user", "content": "Hi!"}]}',
            has_stream=True,
            is_open=True,
        ),
        Endpoint(
            "POST",
            "/v1/messages/count_tokens",
            "Count a message's tokens",
            "An estimate, which costs nothing.",
            KEY,
            record(input_tokens=integer()),
            body=(
                MODEL,
                Field("messages", array({"type": "object"}, minItems=1), "What would be said.", True),
            ),
            statuses=(400, 404, 408, 413, 503, 529),
            example='{"model": "MODEL", "messages": [{"role": "user", "content": "Hello!"}]}',
            is_open=True,
        ),
    ),
)

STATUS_ROW: Final = record(
    id=string(),
    model_id=string(),
    provider=string(),
    model_type=string(),
    is_available=boolean(),
    health_status=string(enum=["healthy", "down", "unknown"]),
    last_health_latency_ms=maybe(integer()),
)
LIMIT: Final = record(limit=integer(), remaining=integer(), reset_at=integer())

CATALOGUE: Final = Chapter(
    "Models and state",
    "Free of charge. No provider is asked anything when these are read.",
    (
        Endpoint(
            "GET",
            "/v1/models",
            "List models",
            "All that can be asked for by a name of their own.",
            NOBODY,
            listed(LISTED_MODEL, object=string()),
        ),
        Endpoint(
            "GET",
            "/v1/models/status",
            "How the models do",
            "A row for each model at each of its providers.",
            NOBODY,
            listed(
                STATUS_ROW,
                object=string(),
                total=integer(),
                healthy=integer(),
                down=integer(),
                unknown=integer(),
            ),
        ),
        Endpoint(
            "GET",
            "/v1/models/{model}",
            "One model",
            "Its name may have slashes.",
            NOBODY,
            LISTED_MODEL,
            statuses=(404,),
        ),
        Endpoint(
            "GET",
            "/v1/key",
            "The key itself",
            "Its limits, what is left of them, and when it comes back. Answers also where nothing is left.",
            KEY,
            record(
                id=integer(),
                name=string(),
                tier=string(),
                rpm=LIMIT,
                tpd=LIMIT,
                budget=maybe(ANY),
                max_parallel=maybe(integer()),
                expires_at=maybe(integer()),
            ),
            statuses=(503,),
        ),
        Endpoint(
            "GET",
            "/health",
            "Is it up?",
            "`ok`, `degraded` (calls go on; the log says what is missing), or 503 and `draining`.",
            NOBODY,
            record(status=string(), timestamp=string(), uptime=integer(), memory=ANY),
            statuses=(503,),
        ),
    ),
)
