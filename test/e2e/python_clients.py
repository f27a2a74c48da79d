"""One conversation by a client of Python: a chat, a stream, a chat that sends the answers back, and one that is too long.

usage: python_clients.py CLIENT BASE_URL MODEL
Prints one line of JSON: what the client understood.
"""

import json
import sys

client_name, base_url, model = sys.argv[1:4]
QUESTION = "Say hello"
AGAIN = "And again"
LONG = "word " * 600
KEY = "anything"


def openai_client():
    import openai

    client = openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0)
    messages = [{"role": "user", "content": QUESTION}]
    first = client.chat.completions.create(
        model=model, messages=messages, n=1, parallel_tool_calls=True, user="u", store=False,
        response_format={"type": "text"}, max_completion_tokens=50,
    )
    with client.chat.completions.stream(
        model=model, messages=messages, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    replayed = [*messages, first.choices[0].message, {"role": "user", "content": AGAIN}]
    dumped = [*messages, final.choices[0].message.model_dump(), {"role": "user", "content": AGAIN}]
    second = client.chat.completions.create(model=model, messages=replayed)
    third = client.chat.completions.create(model=model, messages=dumped)
    try:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": LONG}])
        overflow = None
    except openai.BadRequestError as error:
        overflow = error.code
    return {
        "chat": first.choices[0].message.content,
        "stream": final.choices[0].message.content,
        "turns": [second.choices[0].message.content, third.choices[0].message.content],
        "overflow": overflow,
    }


def openai_responses_client():
    import openai

    client = openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0)
    messages = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(
        model=model, input=QUESTION, instructions="Be brief", store=False, metadata={"a": "b"},
        text={"format": {"type": "text"}}, truncation="auto", max_output_tokens=50,
    )
    with client.responses.stream(model=model, input=messages) as stream:
        final = stream.get_final_response()
    replayed = [*messages, *first.output, {"role": "user", "content": AGAIN}]
    dumped = [*messages, *(item.model_dump() for item in final.output), replayed[-1]]
    turns = [client.responses.create(model=model, input=sent) for sent in (replayed, dumped)]
    try:
        client.responses.create(model=model, input=LONG)
        overflow = None
    except openai.BadRequestError as error:
        overflow = error.code
    return {
        "chat": first.output_text,
        "stream": final.output_text,
        "turns": [turn.output_text for turn in turns],
        "overflow": overflow,
    }


def litellm_client():
    import litellm

    litellm.suppress_debug_info = True
    options = {"model": f"openai/{model}", "api_base": base_url, "api_key": KEY, "num_retries": 0}
    messages = [{"role": "user", "content": QUESTION}]
    first = litellm.completion(messages=messages, **options)
    chunks = litellm.completion(messages=messages, stream=True, **options)
    rebuilt = litellm.stream_chunk_builder(list(chunks), messages=messages)
    replayed = [*messages, first.choices[0].message, {"role": "user", "content": AGAIN}]
    dumped = [*messages, rebuilt.choices[0].message.model_dump(), {"role": "user", "content": AGAIN}]
    turns = [litellm.completion(messages=sent, **options) for sent in (replayed, dumped)]
    try:
        litellm.completion(messages=[{"role": "user", "content": LONG}], **options)
        overflow = None
    except litellm.ContextWindowExceededError as error:
        overflow = type(error).__name__
    return {
        "chat": first.choices[0].message.content,
        "stream": rebuilt.choices[0].message.content,
        "turns": [turn.choices[0].message.content for turn in turns],
        "overflow": overflow,
    }


def langchain_client(**options):
    from langchain_core.exceptions import ContextOverflowError
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        model=model, base_url=base_url, api_key=KEY, max_retries=0, stream_usage=True, **options
    )
    messages = [HumanMessage(QUESTION)]
    first = chat.invoke(messages)
    chunks = list(chat.stream(messages))
    whole = sum(chunks[1:], chunks[0])
    turns = [chat.invoke([*messages, said, HumanMessage(AGAIN)]) for said in (first, whole)]
    try:
        chat.invoke([HumanMessage(LONG)])
        overflow = None
    except ContextOverflowError:
        overflow = "ContextOverflowError"
    return {
        "chat": first.text,
        "stream": whole.text,
        "turns": [turn.text for turn in turns],
        "overflow": overflow,
    }


def llama_index_client():
    import openai
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(
        model=model, api_base=base_url, api_key=KEY, is_chat_model=True, max_retries=0,
        context_window=2048,
    )
    messages = [ChatMessage(role="user", content=QUESTION)]
    first = llm.chat(messages)
    *_, last = llm.stream_chat(messages)
    again = ChatMessage(role="user", content=AGAIN)
    turns = [llm.chat([*messages, said.message, again]) for said in (first, last)]
    try:
        llm.chat([ChatMessage(role="user", content=LONG)])
        overflow = None
    except openai.BadRequestError as error:
        overflow = error.code
    return {
        "chat": first.message.content,
        "stream": last.message.content,
        "turns": [turn.message.content for turn in turns],
        "overflow": overflow,
    }


def words_client():
    """Structured output that is asked for in words: with `json_object`, or with nothing but the words."""
    import instructor
    import openai
    from langchain_openai import ChatOpenAI
    from pydantic import BaseModel
    from pydantic_ai import Agent, PromptedOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class Greeting(BaseModel):
        greeting: str

    options = {"base_url": base_url, "api_key": KEY, "max_retries": 0}

    def ask_instructor(mode):
        client = instructor.from_openai(openai.OpenAI(**options), mode=instructor.Mode[mode])
        return client.chat.completions.create(
            model=model, response_model=Greeting, max_retries=0,
            messages=[{"role": "user", "content": "greet"}],
        )

    def ask_pydantic_ai():
        provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(**options))
        chat = OpenAIChatModel(model, provider=provider)
        return Agent(chat, output_type=PromptedOutput(Greeting), retries=0).run_sync("greet").output

    def ask_langchain():
        chat = ChatOpenAI(model=model, **options)
        return chat.with_structured_output(Greeting, method="json_mode").invoke("greet in JSON")

    made = {
        "instructor JSON": ask_instructor("JSON"),
        "instructor MD_JSON": ask_instructor("MD_JSON"),
        "pydantic-ai prompted": ask_pydantic_ai(),
        "langchain json_mode": ask_langchain(),
    }
    return {way: answer.greeting for way, answer in made.items()}


INPUTS = ["a", "bc"]
TOO_LONG = "x" * 3000


def embedded(vectors, embed_long, error_class):
    try:
        embed_long()
        overflow = None
    except error_class as error:
        overflow = "context_length_exceeded" if "maximum context length" in str(error) else str(error)
    return {"vectors": [[round(float(value), 5) for value in one] for one in vectors], "overflow": overflow}


def openai_embeddings():
    import openai

    client = openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0)
    found = client.embeddings.create(model=model, input=INPUTS, dimensions=2)
    return embedded(
        [item.embedding for item in found.data],
        lambda: client.embeddings.create(model=model, input=TOO_LONG),
        openai.BadRequestError,
    )


def langchain_embeddings():
    import openai
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(
        model=model, base_url=base_url, api_key=KEY, max_retries=0, dimensions=2,
        check_embedding_ctx_length=False,
    )
    return embedded(
        client.embed_documents(INPUTS),
        lambda: client.embed_query(TOO_LONG),
        openai.BadRequestError,
    )


def litellm_embeddings():
    import litellm

    litellm.suppress_debug_info = True
    options = {"model": f"openai/{model}", "api_base": base_url, "api_key": KEY, "num_retries": 0}
    found = litellm.embedding(
        input=INPUTS, dimensions=2, allowed_openai_params=["dimensions"], **options
    )
    return embedded(
        [item["embedding"] for item in found.data],
        lambda: litellm.embedding(input=TOO_LONG, **options),
        litellm.ContextWindowExceededError,
    )


CLIENTS = {
    "openai": openai_client,
    "openai responses": openai_responses_client,
    "litellm": litellm_client,
    "langchain": langchain_client,
    "langchain responses": lambda: langchain_client(use_responses_api=True),
    "llama-index": llama_index_client,
    "words": words_client,
    "openai embeddings": openai_embeddings,
    "langchain embeddings": langchain_embeddings,
    "litellm embeddings": litellm_embeddings,
}
print(json.dumps(CLIENTS[client_name]()))
