// A server whose base writes its calls of tools as `written` does, and answers as a test says.
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { PLAIN } from '../tools/templates.ts';
import type { Reply } from './scripted-engine.ts';
import { createByteTokenizer, utf8 } from './served.ts';

/** A call of a tool with these arguments, as JSON. */
export const written = (name: string, given: string) =>
  `<tool_call>\n{"name": "${name}", "arguments": ${given}}\n</tool_call>`;

/** The options of a server, and the prompts that its model was given. */
export function toolServing(answer: (prompt: string) => string) {
  const tokenizer = createByteTokenizer(PLAIN);
  const prompts: string[] = [];
  const reply: Reply = (ids) => {
    const prompt = tokenizer.decode([...ids], { skipSpecials: false });
    prompts.push(prompt);
    return utf8(answer(prompt));
  };
  const chatTemplate = createToolTemplate(tokenizer);
  return { prompts, options: { tokenizer, chatTemplate, maxSeqLength: 4096, reply } };
}
