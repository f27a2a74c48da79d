// Reads the content of messages: text, as one string or in parts.
import { addIssue, addUnsupported, type Refine } from '../../common/schema-issues.ts';

/** The content parts that a route's messages may have. */
export interface PartForms {
  /** Type of part → the member that holds its text. */
  readonly textOf: Readonly<Record<string, string>>;
  /** All members that a part may have. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Returns a reader of contents. It returns the text, or null if the content is absent or null. */
export function contentReader({ textOf, fields }: PartForms) {
  const types = Object.keys(textOf).join(', ');
  const readPart = (part: unknown, i: number, ctx: Refine): string => {
    const { type, ...rest } = (part ?? {}) as { [member: string]: unknown };
    const member =
      typeof type === 'string' && Object.hasOwn(textOf, type) ? textOf[type] : undefined;
    if (member === undefined) {
      const message = `only parts of type ${types} are supported`;
      return addUnsupported(ctx, message, [i, 'type']);
    }
    const text = rest[member];
    if (typeof text !== 'string') return addIssue(ctx, 'expected a string', [i, member]);
    const unknown = Object.keys(rest).find((name) => !Object.hasOwn(fields, name));
    if (unknown === undefined) return text;
    ctx.addIssue({ code: 'unrecognized_keys', keys: [unknown], path: [i], input: rest });
    return undefined as never;
  };
  return (value: unknown, ctx: Refine): string | null => {
    if (value === undefined || value === null) return null;
    if (typeof value === 'string') return value;
    if (!Array.isArray(value) || value.length === 0) {
      return addIssue(ctx, 'expected a string or a non-empty array of parts');
    }
    let text = '';
    for (const [i, part] of value.entries()) {
      const piece = readPart(part, i, ctx);
      if (piece === undefined) return null; // only the issue matters
      text += piece;
    }
    return text;
  };
}

/** The forms of content in the API's document. */
export function contentForms({ textOf }: PartForms) {
  const parts = Object.entries(textOf).map(([type, member]) => ({
    type: 'object' as const,
    properties: { type: { const: type }, [member]: { type: 'string' as const } },
    required: ['type', member],
  }));
  const items = parts.length === 1 ? parts[0]! : { anyOf: parts };
  return [{ type: 'string' as const }, { type: 'array' as const, items }];
}
