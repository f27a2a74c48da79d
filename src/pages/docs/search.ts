// Finds operations by their path, their summary, and the names and descriptions of their fields.
import { type Group, type Operation, objectsOf, type Schema, type Schemas } from './document.ts';

/** A field that was found. */
export interface FoundField {
  /** With the fields around it: `choices.logprobs`. */
  readonly path: string;
  readonly place: 'request' | 'response';
  readonly schema: Schema;
}

/** An operation that was found. */
export interface FoundOperation {
  readonly operation: Operation;
  /** The fields that contain the words which the operation itself lacks; names first. */
  readonly fields: readonly FoundField[];
}

/** A group with operations that were found. */
export interface FoundGroup extends Omit<Group, 'operations'> {
  readonly operations: readonly FoundOperation[];
}

/** Schemas contain themselves; nobody looks for a field this deep. */
const MAX_DEPTH = 6;

/**
 * Returns the operations that contain all words, in their own texts or in a field's. If there are none: those that contain
 * some words themselves, and the others in a field. No words: all.
 */
export function searchGroups(
  groups: readonly Group[],
  schemas: Schemas,
  query: string,
): FoundGroup[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const search = (wordsOfField: (operation: Operation) => readonly string[]) =>
    groups
      .map(({ operations, ...group }) => ({
        ...group,
        operations: operations.flatMap((operation) => {
          if (lacking(operation, words).length === 0) return [{ operation, fields: [] }];
          const fields = findFields(fieldsOf(operation, schemas), wordsOfField(operation));
          return fields.length > 0 ? [{ operation, fields }] : [];
        }),
      }))
      .filter(({ operations }) => operations.length > 0);
  const found = search(() => words);
  return found.length > 0 ? found : search((operation) => lacking(operation, words));
}

/** The words that an operation's own texts do not contain. */
function lacking({ method, path, summary }: Operation, words: readonly string[]): string[] {
  const text = `${method} ${path} ${summary}`.toLowerCase();
  return words.filter((word) => !text.includes(word));
}

/** The fields that contain all words, those with the words in their names first. */
function findFields(fields: readonly FoundField[], words: readonly string[]): FoundField[] {
  const isIn = (text: string) => words.every((word) => text.toLowerCase().includes(word));
  const named = fields.filter(({ path }) => isIn(path));
  const described = fields.filter((field) => {
    return !named.includes(field) && isIn(`${field.path} ${field.schema.description ?? ''}`);
  });
  return [...named, ...described];
}

/** Returns all fields of an operation's parameters, its body, and its successful response. */
function fieldsOf(operation: Operation, schemas: Schemas): FoundField[] {
  const { parameters = [], requestBody, responses } = operation;
  const found = parameters.map(({ name, schema, description = '' }): FoundField => {
    return { path: name, place: 'request', schema: { ...schema, description } };
  });
  const add = (schema: Schema, place: FoundField['place'], prefix: string, depth: number) => {
    if (depth > MAX_DEPTH) return;
    for (const { name, schema: field } of objectsOf(schema, schemas).flat()) {
      const path = `${prefix}${name}`;
      if (found.some((one) => one.path === path && one.place === place)) continue; // an alternative has it
      found.push({ path, place, schema: field });
      add(field, place, `${path}.`, depth + 1);
    }
  };
  const contents = [
    ['request', requestBody],
    ['response', responses['200']],
  ] as const;
  for (const [place, { content = {} } = {}] of contents) {
    for (const { schema } of Object.values(content)) add(schema, place, '', 0);
  }
  return found;
}
