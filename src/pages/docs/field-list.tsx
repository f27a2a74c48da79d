// The fields of a request or a response: common ones first, nested ones when they are opened.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import {
  type Field,
  objectsOf,
  type Schema,
  type Schemas,
  sortFields,
  typeText,
} from './document.ts';

interface MoreProps {
  readonly title: string;
  readonly isOpen?: boolean;
  readonly render: () => ComponentChildren;
}

/** A part that is rendered once it is opened: schemas can contain themselves. */
export function More({ title, isOpen = false, render }: MoreProps) {
  const [wasOpened, setOpened] = useState(isOpen);
  return (
    <details class="more" open={isOpen} onToggle={() => setOpened(true)}>
      <summary>{title}</summary>
      {wasOpened && render()}
    </details>
  );
}

/** Text whose parts between backticks are code. */
export function Marked({ text }: { readonly text: string }) {
  return (
    <>{text.split('`').map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part))}</>
  );
}

interface FieldsProps {
  readonly schema: Schema;
  readonly schemas: Schemas;
  /** Paths of fields that the search found. */
  readonly hits: readonly string[];
  /** The path of the fields around these, with a point at its end. */
  readonly prefix?: string;
  /** Whether rare fields come last. */
  readonly isSorted?: boolean;
}

/** A list for each object that the schema describes. */
export function FieldLists({ schema, ...rest }: FieldsProps) {
  return (
    <>
      {objectsOf(schema, rest.schemas).map((fields, i) => (
        <div key={i}>
          {i > 0 && <p class="help">or</p>}
          <FieldList fields={fields} {...rest} />
        </div>
      ))}
    </>
  );
}

type ListProps = Omit<FieldsProps, 'schema'> & { readonly fields: readonly Field[] };

function FieldList({ fields, ...rest }: ListProps) {
  const { prefix = '', hits, isSorted } = rest;
  const { common, rare, foreign } = isSorted
    ? sortFields(fields)
    : { common: fields, rare: [], foreign: [] };
  const items = (some: readonly Field[]) => (
    <ul class="fields">
      {some.map((field) => (
        <FieldItem key={field.name} field={field} {...rest} />
      ))}
    </ul>
  );
  const folded = (title: string, some: readonly Field[]) =>
    some.length > 0 && (
      <More
        title={`${title} (${some.length})`}
        isOpen={some.some(({ name }) => leadsTo(hits, `${prefix}${name}`))}
        render={() => items(some)}
      />
    );
  return (
    <>
      {items(common)}
      {folded('More fields', rare)}
      {folded('Fields of other servers, without effect or refused', foreign)}
    </>
  );
}

type ItemProps = Omit<ListProps, 'fields'> & { readonly field: Field };

function FieldItem({ field, prefix = '', ...rest }: ItemProps) {
  const { name, schema, isRequired } = field;
  const path = `${prefix}${name}`;
  const words = [typeText(schema), isRequired && 'required'].filter(Boolean).join(', ');
  return (
    <li>
      <code>{rest.hits.includes(path) ? <mark>{name}</mark> : name}</code>
      <span class="help"> {words}</span>
      {schema.description && (
        <p>
          <Marked text={schema.description} />
        </p>
      )}
      <Nested schema={schema} prefix={`${path}.`} {...rest} />
    </li>
  );
}

/** The fields of a field, folded. */
export function Nested(props: FieldsProps) {
  if (objectsOf(props.schema, props.schemas).length === 0) return null;
  const isHit = props.hits.some((hit) => hit.startsWith(props.prefix ?? ''));
  return <More title="Fields" isOpen={isHit} render={() => <FieldLists {...props} />} />;
}

function leadsTo(hits: readonly string[], path: string): boolean {
  return hits.some((hit) => hit === path || hit.startsWith(`${path}.`));
}
