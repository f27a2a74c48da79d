// The playground's parameters: their fields, presets, and what a request contains of them. A request contains only those that the
// user set.
import type { SamplingFormField } from '../../contracts/sampling-fields.ts';
import { SAMPLING_FIELDS } from '../tables.ts';
import { type Reading, readFormat, readTools } from './structured.ts';

/** A parameter that is typed as JSON. */
export interface Editor {
  /** As in the API. */
  readonly name: string;
  readonly title: string;
  readonly label: string;
  /** Its name in an error message. */
  readonly phrase: string;
  /** While the field is empty. */
  readonly help: string;
  readonly read: (text: string) => Reading;
  readonly example: unknown;
}

/** Fields as typed, by the API's names, without empty ones. */
export type Typed = Readonly<Record<string, string>>;

export const PARAMETERS: readonly SamplingFormField[] = [
  ...SAMPLING_FIELDS,
  { name: 'max_tokens', label: 'Max tokens', min: 1, isInteger: true, standard: 'no limit' },
  { name: 'seed', label: 'Seed', min: 0, isInteger: true, standard: 'random' },
];

export const EDITORS: readonly Editor[] = [
  {
    name: 'response_format',
    title: 'Response format',
    label: 'JSON Schema',
    phrase: 'the response format',
    read: readFormat,
    help: 'With a schema the answer is always JSON that satisfies it.',
    example: {
      type: 'object',
      properties: {
        answer: { type: 'string', maxLength: 80 },
        certainty: { enum: ['low', 'medium', 'high'] },
      },
      required: ['answer', 'certainty'],
      additionalProperties: false,
    },
  },
  {
    name: 'tools',
    title: 'Tools',
    label: 'Functions as JSON',
    phrase: 'the list of tools',
    read: readTools,
    help: 'A list of functions. Their calls are shown, and not run.',
    example: [
      {
        name: 'get_weather',
        description: 'The weather of a city',
        parameters: {
          type: 'object',
          properties: { city: { type: 'string', maxLength: 40 } },
          required: ['city'],
        },
      },
    ],
  },
];

/** The names of all parameters that a link can contain. */
export const PARAMETER_NAMES: readonly string[] = [
  ...[...PARAMETERS, ...EDITORS].map(({ name }) => name),
  ...['stop', 'logprobs', 'tool_choice'],
];

/** Fields that a preset does not name are cleared. */
const PRESETS: Readonly<Record<string, Typed>> = {
  'Model defaults': {},
  Deterministic: { temperature: '0' },
  Balanced: { temperature: '0.7', top_p: '0.9' },
  Creative: { temperature: '1.1', top_p: '0.95' },
};
const CUSTOM = 'Custom';
export const PRESET_NAMES: readonly string[] = [...Object.keys(PRESETS), CUSTOM];
/** The parameters that a preset sets. */
const PRESET_FIELDS = SAMPLING_FIELDS.map(({ name }) => name);

/** Returns the preset that matches the fields. */
export function presetOf(typed: Typed): string {
  const match = Object.entries(PRESETS).find(([, values]) =>
    PRESET_FIELDS.every((name) => typed[name] === values[name]),
  );
  return match?.[0] ?? CUSTOM;
}

/** Returns the fields that a preset sets or clears. */
export function presetFields(preset: string): Typed {
  const values = PRESETS[preset];
  return values ? Object.fromEntries(PRESET_FIELDS.map((name) => [name, values[name] ?? ''])) : {};
}

/** The alternatives requested for each token. */
const TOP_LOGPROBS = 5;

/** Returns the parameters that are set, as the API takes them, without JSON that is not valid. The server checks them. */
export function toParameters(typed: Typed): Record<string, unknown> {
  const numbers = PARAMETERS.filter(({ name }) => typed[name]).map(({ name }) => [
    name,
    Number(typed[name]),
  ]);
  const structures = EDITORS.map(({ name, read }) => [name, read(typed[name] ?? '').value]);
  const { stop = '', logprobs, tool_choice: choice } = typed;
  const stops = stop.split('\n').filter(Boolean);
  const body = Object.fromEntries(
    [...numbers, ...structures].filter(([, value]) => value !== undefined),
  );
  return {
    ...body,
    ...(stops.length > 0 && { stop: stops }),
    ...(logprobs && { logprobs: true, top_logprobs: TOP_LOGPROBS }),
    ...('tools' in body && choice && { tool_choice: choice }),
  };
}

/** Returns the first editor whose text cannot be sent. */
export function badEditor(typed: Typed): Editor | undefined {
  return EDITORS.find(({ name, read }) => read(typed[name] ?? '').problem !== '');
}
