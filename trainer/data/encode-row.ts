// Encodes a row of a training file as token ids and labels. A row's text never becomes a control token: those only come from
// the chat template or end an example.
import { invalidAdapter } from '../../adapters/peft/refusal.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import type { Objective } from '../../src/contracts/preference-settings.ts';
import type { ToolFormatName } from '../../src/contracts/tool-format.ts';
import {
  type ChatRow,
  type CompletionRow,
  refuseOtherObjective,
  type TrainingRow,
  TrainingRowError,
} from '../../src/rows/row-schema.ts';
import {
  loadTokenizer,
  newTokens,
  type Tokenizer,
  withoutPadding,
} from '../../src/tokenizer/tokenizer.ts';
import { createToolTemplate, type ToolTemplate } from '../../src/tools/tool-template.ts';
import type { Example } from './example.ts';
import type { Classes } from './labels.ts';
import type { RowEncoder } from './load-dataset.ts';

/** The model to encode rows for. */
interface RowEncoderOptions {
  /** Without one, only rows of token ids can be encoded. */
  readonly tokenizer?: Tokenizer | undefined;
  readonly template?: ToolTemplate | undefined;
  /** All token ids are below this. */
  readonly vocabSize: number;
  /** The classes of labeled rows. If given, every row must have a label. */
  readonly classes?: Classes | undefined;
  /** The objective of the run. Absent: the first row's kind decides. */
  readonly objective?: Objective;
  /** For the chat template of prompts. */
  readonly reasoningEffort?: string | undefined;
}

/** Creates the encoder of a model's rows. */
export function createRowEncoder({
  tokenizer,
  template,
  vocabSize,
  classes,
  objective,
  reasoningEffort,
}: RowEncoderOptions): RowEncoder {
  let wanted = objective;
  const variables = reasoningEffort === undefined ? {} : { reasoning_effort: reasoningEffort };
  const needTokenizer = (): Tokenizer => {
    if (tokenizer) return tokenizer;
    throw new TrainingRowError('the model has no tokenizer: rows must be input_ids and labels');
  };
  const endIds = tokenizer ? endOfText(tokenizer) : [];
  const needTemplate = (field: string, cure = ''): ToolTemplate => {
    needTokenizer();
    if (template) return template;
    throw new TrainingRowError(`${field}: the model has no chat template${cure}`);
  };
  const encodeCompletion = (row: CompletionRow) => {
    const { encode } = needTokenizer();
    const prompt = encode(row.prompt, { specials: false, affixes: true });
    const completion = encode(row.completion, { specials: false });
    return labelFrom([...prompt, ...completion, ...endIds], prompt.length);
  };
  return (row) => {
    wanted ??= row.kind === 'pair' ? 'dpo' : 'supervised';
    refuseOtherObjective(row, wanted);
    if (classes && row.kind !== 'labelled') {
      throw new TrainingRowError('label: is missing: the rows of a classifier have text and label');
    }
    switch (row.kind) {
      case 'chat':
        return encodeChat(row, needTemplate('messages', '. Use prompt and completion instead'));
      case 'pair': {
        const encodeOutput = (output: typeof row.chosen) =>
          output.kind === 'chat'
            ? encodeChat(output, needTemplate('input.messages'))
            : encodeCompletion(output);
        return { ...encodeOutput(row.chosen), rejected: encodeOutput(row.rejected) };
      }
      case 'prompt':
        return encodePrompt(row, needTemplate('messages'), variables);
      case 'completion':
        return encodeCompletion(row);
      case 'text': {
        const ids = needTokenizer().encode(row.text, { specials: false, affixes: true });
        return labelFrom([...ids, ...endIds], 0);
      }
      case 'labelled': {
        if (!classes)
          throw new TrainingRowError('label: is only for a classifier, whose rows all have one');
        const ids = needTokenizer().encode(row.text, { specials: false, affixes: true });
        if (ids.length === 0) throw new TrainingRowError('text: has no tokens');
        return classExample(ids, classes.numberOf(row.label));
      }
      case 'tokens': {
        refuseForeignIds(row, vocabSize);
        const labels = Int32Array.from(row.labels, (label) => Math.max(label, -1));
        return { ids: Int32Array.from(row.input_ids), labels, weights: undefined };
      }
    }
  };
}

/** Returns the tokenizer's end-of-sequence token, which ends examples without a template. */
function endOfText(tokenizer: Tokenizer): readonly number[] {
  const token = tokenizer.namedTokens['eos_token'];
  if (token !== undefined) return tokenizer.encode(token, { specials: true });
  return tokenizer.eosTokenIds.slice(0, 1);
}

/** Labels every token from `start` on. */
function labelFrom(tokens: readonly number[], start: number): Example {
  const ids = Int32Array.from(tokens);
  return { ids, labels: ids.map((id, t) => (t < start ? -1 : id)), weights: undefined };
}

/** Labels only the position after the last token, with the class. */
function classExample(tokens: readonly number[], classNumber: number): Example {
  const labels = new Int32Array(tokens.length + 1).fill(-1);
  labels[tokens.length] = classNumber;
  return { ids: Int32Array.from(tokens), labels, weights: undefined };
}

/** Renders a conversation up to the assistant's answer. Nothing is labeled. */
function encodePrompt(
  { messages, tools, item }: Extract<TrainingRow, { kind: 'prompt' }>,
  template: ToolTemplate,
  variables: Readonly<Record<string, string>>,
): Example {
  const options = { tools: tools ?? [], addGenerationPrompt: true, variables };
  const { ids } = rendered(() => template.render(toTurns(messages), options));
  return {
    ids: Int32Array.from(ids),
    labels: new Int32Array(ids.length).fill(-1),
    weights: undefined,
    item,
    ...(tools && { tools }),
  };
}

function toTurns(messages: ChatRow['messages']) {
  return messages.map(({ role, name, weight, ...message }) => ({
    ...message,
    role: role === 'developer' ? 'system' : role,
    ...(name !== undefined && { name }),
  }));
}

function rendered<T>(render: () => T): T {
  try {
    return render();
  } catch (error) {
    throw error instanceof ServeError ? new TrainingRowError(error.message) : error;
  }
}

/** Labels the assistant's text and calls, and the token that ends its turn, with the message's weight. */
function encodeChat({ messages, tools }: ChatRow, template: ToolTemplate): Example {
  const { spans, ...chat } = rendered(() =>
    template.renderWithSpans(toTurns(messages), { tools: tools ?? [] }),
  );
  const ids = Int32Array.from(chat.ids);
  const labels = new Int32Array(ids.length).fill(-1);
  const weights = new Float32Array(ids.length);
  for (const { messageIndex, start, end } of spans) {
    const weight = messages[messageIndex]!.weight ?? 1;
    if (weight === 0) continue;
    labels.set(ids.subarray(start, end), start);
    weights.fill(weight, start, end);
  }
  const isPlain = weights.every((weight, t) => weight === (labels[t]! < 0 ? 0 : 1));
  return { ids, labels, weights: isPlain ? undefined : weights };
}

function refuseForeignIds(
  row: { input_ids: readonly number[]; labels: readonly number[] },
  vocabSize: number,
): void {
  for (const field of ['input_ids', 'labels'] as const) {
    const index = row[field].findIndex((id) => id >= vocabSize);
    if (index >= 0) {
      throw new TrainingRowError(
        `${field}[${index}]: ${row[field][index]} is not a token id (the vocabulary has ${vocabSize} tokens)`,
      );
    }
  }
}

/** A model's tokenizer, and its chat template if it has one. */
export interface ModelText {
  readonly tokenizer: Tokenizer;
  readonly template: ToolTemplate | undefined;
}

/** Loads a model's tokenizer and chat template; undefined if the folder has no tokenizer. */
export async function readModelText(
  directory: string,
  toolFormat?: ToolFormatName,
): Promise<ModelText | undefined> {
  const tokenizer = await loadTokenizer(directory);
  return tokenizer && { tokenizer, template: createToolTemplate(tokenizer, toolFormat) };
}

/** A tokenizer and template extended by an adapter's tokens. */
export interface AdaptedModelText extends ModelText {
  /** The tokens that the base lacks. Absent: none. */
  readonly addedTokens?: AddedTokens;
}

/**
 * Adds an adapter's tokens. `rows` is the number of rows of the base. Throws `ServeError` (422) if a token has no row,
 * `FileError` if two tokens collide.
 */
export function adaptModelText(
  { tokenizer, template }: ModelText,
  added: AddedTokens | undefined,
  rows: number,
): AdaptedModelText {
  const addedTokens = added && newTokens(tokenizer, withoutPadding(added, rows));
  if (!addedTokens || addedTokens.tokens.length === 0) return { tokenizer, template };
  const outside = addedTokens.tokens.find(({ id }) => id >= rows);
  if (outside)
    throw invalidAdapter('added_tokens', `has token ${outside.id}, but the base has ${rows} rows`);
  const extended = tokenizer.extended(addedTokens);
  return { tokenizer: extended, template: template?.extended(extended), addedTokens };
}
