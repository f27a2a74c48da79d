// Small parts that several pages use: panels, tiles and tables.
import type { ComponentChildren, VNode } from 'preact';
import { useRef } from 'preact/hooks';
import { useFocusFallback } from './focus.ts';

/** A column's heading. */
export type Column = string | VNode | { readonly number: string };

/** The heading of a column of numbers. */
export const number = (name: string): Column => ({ number: name });

interface TableProps {
  /** For screen readers. */
  readonly caption: string;
  readonly columns: readonly Column[];
  /** The first cell of each row is its heading. */
  readonly rows: readonly (readonly ComponentChildren[])[];
  /** The keys of the rows, if some can be added above others. */
  readonly keys?: readonly string[];
  /** Whether the columns are alike. On a phone it scrolls; each row of another table becomes a few lines. */
  readonly isMatrix?: boolean;
}

/** A table. If it is wide it scrolls, and takes the focus, because only a focused element can be scrolled with keys. */
export function Table({ caption, columns, rows, keys, isMatrix = false }: TableProps) {
  const box = useRef<HTMLDivElement>(null);
  useFocusFallback(box, box); // a row may go with the button that removed it
  const heads = columns.map((column) =>
    typeof column === 'object' && 'number' in column
      ? { name: column.number, className: 'number' }
      : { name: column, className: '' },
  );
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms
    <div
      class={isMatrix ? 'wide-table' : 'wide-table records'}
      ref={box}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
      tabIndex={0}
      role="group"
      aria-label={caption}
    >
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {heads.map(({ name, className }, i) => (
              <th key={i} scope="col" class={className}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cells, at) => (
            <tr key={keys?.[at] ?? at}>
              {cells.map((cell, i) =>
                i === 0 ? (
                  <th scope="row">{cell}</th>
                ) : (
                  <td class={heads[i]?.className} data-name={textOf(heads[i]?.name)}>
                    {cell}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** On a phone a cell can show its column's name. */
function textOf(heading: Column | undefined): string | undefined {
  return typeof heading === 'string' ? heading : undefined;
}

interface PanelProps {
  readonly id: string;
  readonly title: string;
  readonly children: ComponentChildren;
}

/** A part of a page with a heading. */
export function Panel({ id, title, children }: PanelProps) {
  return (
    <section class="panel" id={id} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{title}</h2>
      {children}
    </section>
  );
}

/** A tile's contents. */
export interface TileProps {
  readonly name: string;
  readonly value: string;
  /** A line below the figure. */
  readonly help?: string;
  /** More `dd` below the figure. */
  readonly children?: ComponentChildren;
}

/** A figure with its name, for a `dl.tiles`. */
export function Tile({ name, value, help, children }: TileProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
      {help && <dd class="help">{help}</dd>}
      {children}
    </div>
  );
}
