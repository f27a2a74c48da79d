// A JSON Schema as the user wrote it: the targets of its references, and the path of each part.

import { GrammarError } from './grammar-error.ts';
import { type Draft, isObject, isSchema, LATEST, type Schema } from './schema-keywords.ts';

/** The address of a schema without `$id`. Others are relative to it. */
const ROOT_ADDRESS = 'schema:///';
/** A schema or a list of schemas, schemas by name, or data without addresses. */
type Kind = 'schema' | 'byName' | 'data';
/** Keywords that hold schemas. */
const KINDS = new Map<string, Kind>([
  ...[
    'properties',
    'patternProperties',
    'dependencies',
    'dependentSchemas',
    '$defs',
    'definitions',
  ].map((name) => [name, 'byName'] as const),
  ...['allOf', 'anyOf', 'oneOf', 'not', 'if', 'then', 'else', 'items', 'prefixItems'].map(
    (name) => [name, 'schema'] as const,
  ),
  ...['additionalItems', 'additionalProperties', 'contains', 'propertyNames'].map(
    (name) => [name, 'schema'] as const,
  ),
]);

const FIRST_WITH_DOLLAR_ID: Draft = 6;
const FIRST_WITH_ANCHORS: Draft = 2019;
/** From this draft on, keywords next to `$ref` count. */
export const FIRST_WITH_SIBLINGS: Draft = 2019;

/** A schema's location in the document. */
interface Location {
  readonly path: string;
  /** The address of the nearest schema with one. */
  readonly base: string;
  /** The same, without its own address. */
  readonly outer: string;
}

/** A schema and all its subschemas. */
export class SchemaTree {
  readonly #draft: Draft;
  readonly #isNamed: boolean;
  readonly #locations = new Map<object, Location>();
  /** Schemas by their addresses, with an anchor after #. */
  readonly #addresses = new Map<string, unknown>();

  constructor(root: unknown, draft: Draft | undefined) {
    this.#draft = draft ?? LATEST;
    this.#isNamed = draft !== undefined;
    this.#addresses.set(ROOT_ADDRESS, root);
    this.#walk(root);
  }

  /** Returns the path of a schema that the user wrote, or `near` for another one. */
  pathOf(schema: unknown, near: string): string {
    return this.#locations.get(schema as object)?.path ?? near;
  }

  /** Returns the target of a schema's reference. `path` is the reference's own position. */
  resolve(schema: object, ref: string, path: string): boolean | Schema {
    const { base, outer } = this.#locations.get(schema) ?? {
      base: ROOT_ADDRESS,
      outer: ROOT_ADDRESS,
    };
    const target = this.#find(ref, base, path);
    if (this.#isNamed || outer === base) return target;
    const older = this.#other(ref, outer);
    if (older === undefined || older === target) return target;
    const message = 'means something else in older drafts, which ignore the $id next to it';
    throw new GrammarError(`${message}. Name the draft with $schema`, path);
  }

  /** Returns the target of a reference from elsewhere. Undefined if there is none. */
  #other(ref: string, base: string): boolean | Schema | undefined {
    try {
      return this.#find(ref, base, '');
    } catch {
      return undefined;
    }
  }

  #find(ref: string, base: string, path: string): boolean | Schema {
    const address = toAddress(ref, base);
    const [resource = '', fragment = ''] = address?.split('#') ?? [];
    const isPointer = fragment === '' || fragment.startsWith('/');
    const found = this.#addresses.get(isPointer ? resource : `${resource}#${fragment}`);
    if (address === undefined || found === undefined) {
      const message = 'must be a reference within this schema, such as #/$defs/name';
      throw new GrammarError(message, path);
    }
    let target: unknown = found;
    for (const part of isPointer ? fragment.split('/').slice(1) : []) {
      const name = fromPointer(part);
      if (name === undefined) throw new GrammarError('is not a reference: a % must be %25', path);
      const isThere = typeof target === 'object' && target !== null && Object.hasOwn(target, name);
      if (!isThere) throw new GrammarError(`nothing is at ${ref}`, path);
      target = (target as Record<string, unknown>)[name];
    }
    if (!isSchema(target)) throw new GrammarError(`${ref} is not a schema`, path);
    return target;
  }

  /** Records the places and addresses of all objects and arrays. */
  #walk(root: unknown): void {
    const open: [value: unknown, location: Location, kind: Kind][] = [
      [root, { path: '#', base: ROOT_ADDRESS, outer: ROOT_ADDRESS }, 'schema'],
    ];
    for (let next = open.pop(); next; next = open.pop()) {
      const [value, { path, outer }, kind] = next;
      if (typeof value !== 'object' || value === null) continue;
      const isOne = kind === 'schema' && isObject(value);
      const base = isOne ? this.#addressOf(value, outer) : outer;
      this.#locations.set(value, { path, base, outer });
      for (const [name, inner] of Object.entries(value)) {
        const below = isOne ? (KINDS.get(name) ?? 'data') : kind === 'data' ? 'data' : 'schema';
        const location = { path: `${path}/${toPointer(name)}`, base, outer: base };
        open.push([inner, location, below]);
      }
    }
  }

  /** Records the addresses of a schema. Returns the one that references inside of it are relative to. */
  #addressOf(schema: Schema, outer: string): string {
    const hasSiblings = this.#draft >= FIRST_WITH_SIBLINGS || schema['$ref'] === undefined;
    const id = hasSiblings && schema[this.#draft < FIRST_WITH_DOLLAR_ID ? 'id' : '$id'];
    const address = typeof id === 'string' ? toAddress(id, outer) : undefined;
    const [resource = outer, anchor] = address?.split('#') ?? [];
    if (address !== undefined) this.#addresses.set(anchor ? address : resource, schema);
    const base = anchor ? outer : resource;
    for (const name of ['$anchor', '$dynamicAnchor']) {
      const own = this.#draft < FIRST_WITH_ANCHORS ? undefined : schema[name];
      if (typeof own === 'string') this.#addresses.set(`${base}#${own}`, schema);
    }
    return base;
  }
}

function toAddress(reference: string, base: string): string | undefined {
  try {
    return new URL(reference, base).href;
  } catch {
    return undefined;
  }
}

/** Returns the name that a part of a reference stands for. Undefined if it is not encoded as in a URI. */
function fromPointer(part: string): string | undefined {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return undefined;
  }
}

/** Escapes a name for a path. */
export function toPointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}
