// A JSON Schema as the user wrote it: the targets of its references, and the path of each part.
import { checkKeywords, combine, isObject, isSchema, type Schema } from './schema-keywords.ts';
import { GrammarError } from './text-pattern.ts';

/** The length of a chain of references. */
const MAX_DEPTH = 64;

/** A schema and all its subschemas. */
export class SchemaTree {
  readonly root: unknown;
  readonly #paths: ReadonlyMap<object, string>;

  constructor(root: unknown) {
    this.root = root;
    this.#paths = pathsOf(root);
  }

  /** Returns the path of a schema that the user wrote, or `near` for a schema that was combined from several ones. */
  pathOf(schema: unknown, near: string): string {
    return this.#paths.get(schema as object) ?? near;
  }

  /** Whether the user wrote this object or array. */
  has(schema: unknown): boolean {
    return this.#paths.has(schema as object);
  }

  /** Replaces a schema that is a reference by its target. */
  expand(schema: unknown, near: string, depth = 0): boolean | Schema {
    if (typeof schema === 'boolean') return schema;
    const path = this.pathOf(schema, near);
    if (!isObject(schema)) throw new GrammarError('must be a schema: an object or a boolean', path);
    checkKeywords(schema, path);
    const { $ref, ...beside } = schema;
    if ($ref === undefined) return schema;
    const here = `${path}/$ref`;
    if (depth > MAX_DEPTH) throw new GrammarError('refers to itself', here);
    const target = this.expand(this.resolve($ref as string, here), here, depth + 1);
    if (typeof target === 'boolean') return target ? beside : false;
    return combine(target, beside, path);
  }

  /** Returns the target of a reference. `path` is the reference's own position. */
  resolve(ref: string, path: string): boolean | Schema {
    if (ref !== '#' && !ref.startsWith('#/')) {
      throw new GrammarError('must be a reference within this schema, such as #/$defs/name', path);
    }
    let target = this.root;
    for (const part of ref.split('/').slice(1)) {
      const name = fromPointer(part);
      if (name === undefined) throw new GrammarError('is not a reference: a % must be %25', path);
      const isThere = typeof target === 'object' && target !== null && Object.hasOwn(target, name);
      if (!isThere) throw new GrammarError(`nothing is at ${ref}`, path);
      target = (target as Record<string, unknown>)[name];
    }
    if (!isSchema(target)) throw new GrammarError(`${ref} is not a schema`, path);
    return target;
  }
}

/** Returns the paths of all objects and arrays in a schema. */
function pathsOf(root: unknown): Map<object, string> {
  const paths = new Map<object, string>();
  const open: [value: unknown, path: string][] = [[root, '#']];
  for (let next = open.pop(); next; next = open.pop()) {
    const [value, path] = next;
    if (typeof value !== 'object' || value === null) continue;
    paths.set(value, path);
    for (const [name, inner] of Object.entries(value))
      open.push([inner, `${path}/${toPointer(name)}`]);
  }
  return paths;
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
