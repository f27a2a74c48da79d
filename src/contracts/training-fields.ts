// The table of training settings in the forms that its users need: the keys of a job file, the flags of the command line,
// and the fields of the fine-tuning API.
import { z } from 'zod';
import { OBJECTIVES, type Objective } from './preference-settings.ts';
import type { FlagKind, PlannedFigure, TrainingSetting } from './training-setting.ts';
import { GATE_SETTINGS, TRAINING_SETTINGS } from './training-settings.ts';

type Table = typeof TRAINING_SETTINGS;

/** A key of a job file. */
type TrainingKey = keyof Table;

type JobShape = {
  [Key in TrainingKey]: Table[Key] extends { default: unknown }
    ? z.ZodDefault<Table[Key]['schema']>
    : Table[Key] extends { isRequired: true }
      ? Table[Key]['schema']
      : z.ZodOptional<Table[Key]['schema']>;
};

/** The keys of rows with these properties. */
type KeysWith<Part> = {
  [Key in TrainingKey]: Table[Key] extends Part ? Key : never;
}[TrainingKey];

type HyperparameterKey = KeysWith<{ api: { group: 'hyperparameters' } }>;
type HyperparameterName = Table[HyperparameterKey]['api']['name'];
type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** A job file, and values that override its keys. */
export interface JobSource {
  readonly file: string | undefined;
  readonly overrides: Readonly<Record<string, unknown>>;
  /** Set for a job of the fine-tuning API, whose messages name the API's fields. */
  readonly isFromApi?: true;
}

/** The fields of an API object as `fromWire` renames them. */
export type FromWire<Value> = Value extends readonly (infer Item)[]
  ? readonly FromWire<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value as CamelCase<Key & string>]: FromWire<Value[Key]> }
    : Value;

/** A hyperparameter's key in the record of a job. */
export type HyperparameterField = CamelCase<HyperparameterName>;

/** A value that OpenAI's API takes as a hyperparameter. */
export interface Hyperparameter {
  readonly key: HyperparameterKey;
  readonly name: HyperparameterName;
  readonly field: HyperparameterField;
  readonly schema: z.ZodType<number | string>;
  readonly help: string;
  /** Stands for the default, mostly `auto`. */
  readonly absent: string;
  /** Completes "must be auto or …". */
  readonly rule: string;
  /** The number that `auto` stands for, or the figure of a plan. Undefined: `absent` is shown. */
  readonly default: number | PlannedFigure | undefined;
  /** The objectives that have it. */
  readonly objectives: readonly Objective[];
}

type ExtensionKey = KeysWith<{ api: { group: 'lorikeet' } }>;
type ExtensionShape = {
  [Key in ExtensionKey]: z.ZodOptional<
    Table[Key] extends { api: { schema: infer Schema extends z.ZodType } }
      ? Schema
      : Table[Key]['schema']
  >;
};

/** The same schemas by the names of the API's fields. */
type ExtensionFields = {
  [Key in Exclude<ExtensionKey, 'gate'> as Table[Key]['api']['name']]: ExtensionShape[Key];
};

const ROWS = Object.entries(TRAINING_SETTINGS) as [TrainingKey, TrainingSetting][];

/** Lists the settings that match, by key. */
export function keysOf(matches: (row: TrainingSetting) => boolean): TrainingKey[] {
  return ROWS.filter(([, row]) => matches(row)).map(([key]) => key);
}

/** Returns the schemas of a job file's keys, with their defaults. */
export function jobShape(): JobShape {
  return Object.fromEntries(
    ROWS.map(([key, row]) => {
      if (row.default !== undefined) return [key, row.schema.default(row.default as never)];
      return [key, row.isRequired ? row.schema : row.schema.optional()];
    }),
  ) as JobShape;
}

/** The values of the API's `hyperparameters`. */
const HYPERPARAMETERS = ROWS.filter(([, { api }]) => api?.group === 'hyperparameters').map(
  ([key, row]) => ({
    ...{ key, absent: 'auto', schema: row.schema, help: row.help, objectives: objectivesOf(row) },
    ...row.api,
    field: toCamelCase(row.api!.name),
    default: row.api!.auto ?? row.default,
  }),
) as readonly Hyperparameter[];

/** Returns the schema of a hyperparameter's values, with the one that stands for the default. @param error if none matches */
export function orAbsent({ absent, schema }: Hyperparameter, error?: string) {
  return z.union([z.literal(absent), schema], error);
}

/** Returns the hyperparameters of an objective. */
export function hyperparametersOf(
  objective: Objective | undefined = 'supervised',
): readonly Hyperparameter[] {
  return HYPERPARAMETERS.filter(({ objectives }) => objectives.includes(objective));
}

/** Returns a schema for each of some hyperparameters, by their names in the API or their keys in a job's record. */
export function hyperparameterShape<Key extends 'name' | 'field', Schema>(
  key: Key,
  schemaOf: (row: Hyperparameter) => Schema,
  rows = HYPERPARAMETERS,
) {
  const shape = rows.map((row) => [row[key], schemaOf(row)]);
  return Object.fromEntries(shape) as Record<Hyperparameter[Key], Schema>;
}

/** Returns the schemas of the API's `lorikeet` object, all optional; keys are in camel case. */
export function extensionShape(): ExtensionShape {
  return Object.fromEntries(
    ROWS.filter(([, { api }]) => api?.group === 'lorikeet').map(([key, { api, schema }]) => [
      key,
      (api?.schema ?? schema).optional(),
    ]),
  ) as ExtensionShape;
}

/** Returns the same schemas by the names of the API's fields, in snake case. */
export function extensionFields() {
  const fields = Object.entries(extensionShape()).map(([key, schema]) => [
    rowOf(key)?.api?.name ?? key,
    schema,
  ]);
  const { margin, maxForgetting } = GATE_SETTINGS;
  return {
    ...(Object.fromEntries(fields) as ExtensionFields),
    gate: z
      .strictObject({ margin: gateLimit(margin), max_forgetting: gateLimit(maxForgetting) })
      .optional(),
  };
}

/** A gate's limit, which replaces its default. */
function gateLimit<T extends z.ZodType>(row: { schema: T; help: string; default: number }) {
  return row.schema.optional().describe(`${row.help}; default ${row.default}`);
}

function rowOf(key: string): TrainingSetting | undefined {
  return ROWS.find(([name]) => name === key)?.[1];
}

/** Returns the name of a setting in a user's interface, by its key in a job file. */
export type SettingNames = (key: string) => string;

/** The fields of an API request with their paths, such as `lorikeet.rank`. A setting without a field keeps its key. */
export const apiPathOf: SettingNames = (key) => {
  const row = rowOf(key);
  if (!row?.api) return key;
  const { api } = row;
  const [only, another] = objectivesOf(row);
  const method = api.group === 'hyperparameters' && !another ? `method.${only}.` : '';
  return api.group ? `${method}${api.group}.${api.name}` : api.name;
};

/** Returns the names of settings in a command line, a job file or the API. */
export function sourceNames({ file, overrides, isFromApi }: JobSource): SettingNames {
  if (isFromApi) return apiPathOf;
  return (key) => {
    const row = file === undefined || key in overrides ? rowOf(key) : undefined;
    return row && flagKind(row) ? flagOf(key) : key;
  };
}

/**
 * Returns a job's faults with its settings renamed: the key at the start of a line, the key that it cannot be combined with,
 * and keys that are not English words, such as `trainHead`.
 */
export function nameSettings(faults: string, names: SettingNames): string {
  const rename = (key: string) => (rowOf(key) ? names(key) : key);
  return faults
    .replace(/^\w+(?=(?:\.\w+|\[\d+\])*: )/gm, rename)
    .replace(/(?<=[ (])[a-z]+[A-Z][A-Za-z]*\b|(?<=cannot be combined with )\w+/g, rename);
}

/** Lists the flags of the command line, below their headings. */
export function listTrainingFlags() {
  let group = '';
  return ROWS.flatMap(([key, row]) => {
    group = row.heading ?? group;
    const kind = flagKind(row);
    const isCommon = row.isCommon === true;
    const isRequired = row.isRequired === true;
    return kind
      ? [{ key, flag: flagOf(key), kind, help: helpOf(row), group, isCommon, isRequired }]
      : [];
  });
}

/** Returns a setting's help with its default. */
export function helpOf(row: Pick<TrainingSetting, 'help' | 'default' | 'fallback'>): string {
  const absent = absentValue(row);
  return absent === '' ? row.help : `${row.help} (default: ${absent})`;
}

type FieldRow = ReturnType<typeof formFields>[number];
/** A field of the form of a new job: a number with its bounds, or a choice. The placeholder describes the default. */
export type FormField = Partial<FieldRow> &
  Pick<FieldRow, 'id' | 'label' | 'parent' | 'objectives' | 'placeholder'>;

/** Returns the fields of the form of a new job: hyperparameters of all objectives, of one, and other settings. */
export function formFields() {
  const fields = ROWS.flatMap(([, row]) => {
    const { name: id = '', label, absent, schema = row.schema } = row.api ?? {};
    if (!label) return [];
    const parent = row.api?.group ?? ('job' as const);
    const { minValue: min, maxValue: max, format } = schema as Partial<z.ZodNumber>;
    const isInteger = format === 'safeint' || undefined;
    const options = schema instanceof z.ZodEnum ? (schema.options as string[]) : undefined;
    const placeholder = absent ?? absentValue(row);
    const bounds = { min: min ?? undefined, max: max ?? undefined, isInteger };
    return { id, label, parent, objectives: objectivesOf(row), placeholder, ...bounds, options };
  });
  const parents = ['hyperparameters', 'lorikeet', 'job'];
  const orderOf = ({ parent, objectives }: (typeof fields)[0]) =>
    parents.indexOf(parent) - objectives.length / (OBJECTIVES.length + 1);
  return fields.sort((a, b) => orderOf(a) - orderOf(b));
}

/** Lists the settings in `lorikeet` without a field. */
export function fieldlessSettings(): string[] {
  return ROWS.flatMap(([, { api }]) => (api?.group === 'lorikeet' && !api.label ? api.name : []));
}

/** The objectives that have a setting, in the API. */
function objectivesOf({ api, objectives = OBJECTIVES }: TrainingSetting): readonly Objective[] {
  return api?.objectives ?? objectives;
}

/** Renames an API object's fields from `snake_case` to `camelCase`, including nested ones, and drops unset ones. */
export function fromWire(value: object): Record<string, unknown> {
  return renameKeys(value, toCamelCase);
}

/** The inverse of `fromWire`. */
export function toWire(value: object): Record<string, unknown> {
  return renameKeys(value, (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

function renameKeys(value: object, rename: (key: string) => string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [rename(key), renameIn(item, rename)]),
  );
}

function renameIn(value: unknown, rename: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renameIn(item, rename));
  return typeof value === 'object' && value !== null ? renameKeys(value, rename) : value;
}

function toCamelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

const KIND_OF_TYPE: Partial<Record<z.core.$ZodTypeDef['type'], FlagKind>> = {
  string: 'text',
  enum: 'text',
  number: 'number',
  boolean: 'boolean',
};

/** Returns how the command line reads a setting. Undefined if it has no flag. */
function flagKind({ flag, schema }: TrainingSetting): FlagKind | undefined {
  if (flag) return flag === 'none' ? undefined : flag;
  if (schema instanceof z.ZodArray) {
    return schema.element instanceof z.ZodNumber ? 'numbers' : 'names';
  }
  return KIND_OF_TYPE[schema.def.type];
}

function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Describes what a job uses without the setting. Empty if nothing. */
export function absentValue(row: Pick<TrainingSetting, 'default' | 'fallback'>): string {
  if (row.fallback !== undefined) return row.fallback;
  if (row.default === undefined) return '';
  return Array.isArray(row.default) ? row.default.join(', ') : String(row.default);
}
