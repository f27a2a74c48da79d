// A JSON Schema as the user wrote it: the targets of its references, and the path of each part.
import { GrammarError } from './grammar-error.ts';
import {
  type Draft,
  isObject,
  isSchema,
  KEYWORDS,
  LATEST,
  type Schema,
} from './schema-keywords.ts';

const FIRST_WITH_DOLLAR_ID: Draft = 6;
/** From this draft on, keywords next to `$ref` count. */
export const FIRST_WITH_SIBLINGS: Draft = 2019;

/** A schema or a list of schemas, schemas by name, or data. */
type Kind = 'schema' | 'byName' | 'data';

/** A schema's location in the document. */
interface Location {
  readonly path: string;
  /** Whether it is inside of another schema with its own address, to which references are relative. */
  readonly isEmbedded: boolean;
}

/** A schema and all its subschemas. */
export class SchemaTree {
  readonly #root: unknown;
  /** The name of the keyword that gives a schema its address. */
  readonly #id: string;
  readonly #locations = new Map<object, Location>();

  constructor(root: unknown, draft: Draft = LATEST) {
    this.#root = root;
    this.#id = draft < FIRST_WITH_DOLLAR_ID ? 'id' : '$id';
    this.#walk(root);
  }

  /** Returns the path of a schema that the user wrote, or `near` for another one. */
  pathOf(schema: unknown, near: string): string {
    return this.#locations.get(schema as object)?.path ?? near;
  }

  /** Returns the target of a schema's reference. `path` is the reference's own position. */
  resolve(schema: object, ref: string, path: string): boolean | Schema {
    const [address, pointer = ''] = ref.split('#');
    const own = isObject(this.#root) ? this.#root[this.#id] : undefined;
    const isOwn = address === '' || (typeof own === 'string' && address === own.split('#')[0]);
    const isPointer = pointer === '' || pointer.startsWith('/');
    if (!isOwn || !isPointer || this.#locations.get(schema)?.isEmbedded) {
      const message = 'must be a pointer within this schema, such as #/$defs/name';
      throw new GrammarError(
        `${message}, and not inside of another schema with an ${this.#id}`,
        path,
      );
    }
    let target = this.#root;
    for (const part of pointer.split('/').slice(1)) {
      const name = fromPointer(part);
      if (name === undefined) throw new GrammarError('is not a reference: a % must be %25', path);
      const isThere = typeof target === 'object' && target !== null && Object.hasOwn(target, name);
      if (!isThere) throw new GrammarError(`nothing is at ${ref}`, path);
      target = (target as Record<string, unknown>)[name];
    }
    if (!isSchema(target)) throw new GrammarError(`${ref} is not a schema`, path);
    return target;
  }

  /** Records the locations of all objects and arrays. */
  #walk(root: unknown): void {
    const open: [value: unknown, location: Location, kind: Kind][] = [
      [root, { path: '#', isEmbedded: false }, 'schema'],
    ];
    for (let next = open.pop(); next; next = open.pop()) {
      const [value, { path, isEmbedded }, kind] = next;
      if (typeof value !== 'object' || value === null) continue;
      const isOne = kind === 'schema' && isObject(value);
      const id = isOne && value !== root ? value[this.#id] : undefined;
      const location = {
        path,
        isEmbedded: isEmbedded || (typeof id === 'string' && !id.startsWith('#')),
      };
      this.#locations.set(value, location);
      for (const [name, inner] of Object.entries(value)) {
        const below = isOne ? kindOf(name) : kind === 'data' ? 'data' : 'schema';
        open.push([inner, { ...location, path: `${path}/${toPointer(name)}` }, below]);
      }
    }
  }
}

function kindOf(name: string): Kind {
  if (name === '$defs' || name === 'definitions') return 'byName';
  return (Object.hasOwn(KEYWORDS, name) && KEYWORDS[name]!.holds) || 'data';
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
