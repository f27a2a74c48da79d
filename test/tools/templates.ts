// Chat templates as models have them, cut down to messages and tools. Control tokens are those of the byte tokenizer.

/** Shows no tools, and takes no other roles than these. */
export const PLAIN =
  "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}" +
  "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** Like `PLAIN`, and refuses system messages. */
export const NO_SYSTEM = PLAIN.replace("'system', ", '');

/** Like Qwen 2.5's. */
export const QWEN =
  "{% if tools %}<|im_start|>system\n# Tools{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}<|im_end|>\n{% endif %}" +
  "{% for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}{{ '<|im_start|>assistant' }}" +
  "{% if m.content %}{{ '\\n' + m.content }}{% endif %}{% for c in m.tool_calls %}" +
  '{{ \'\\n<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' + (c.function.arguments | tojson) + \'}\\n</tool_call>\' }}' +
  "{% endfor %}<|im_end|>\n{% elif m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}" +
  "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** Like Llama 3.2's: one call, whose message's content is left out. */
export const LLAMA =
  "{% if tools %}{{ '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}<|im_end|>{% endif %}" +
  "{% for m in messages %}{% if 'tool_calls' in m %}{% if m.tool_calls | length != 1 %}{{ raise_exception('single tool-calls') }}{% endif %}" +
  '{{ \'<|im_start|>assistant\\n\\n{"name": "\' + m.tool_calls[0].function.name + \'", "parameters": \' + (m.tool_calls[0].function.arguments | tojson) + \'}<|im_end|>\' }}' +
  "{% elif m.role == 'tool' %}{{ '<|im_start|>ipython\\n\\n' + ({'output': m.content} | tojson) + '<|im_end|>' }}" +
  "{% else %}{{ '<|im_start|>' + m.role + '\\n\\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n\\n' }}{% endif %}";

/** Like Mistral 7B v0.3's: ids of nine characters. */
export const MISTRAL =
  "{% if tools %}{{ '[AVAILABLE_TOOLS] ' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}" +
  "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}" +
  "{% elif m.tool_calls is defined %}[TOOL_CALLS] [{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('id') }}{% endif %}" +
  '{{ (c.function | tojson)[:-1] + \', "id": "\' + c.id + \'"}\' }}{% if not loop.last %}, {% endif %}{% endfor %}]<|end|>' +
  "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS] {\"content\": ' + (m.content | tojson) + ', \"call_id\": \"' + m.tool_call_id + '\"}[/TOOL_RESULTS]' }}" +
  "{% elif m.role == 'assistant' %}{{ ' ' + m.content + '<|end|>' }}{% endif %}{% endfor %}";
