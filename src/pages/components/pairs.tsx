// Names with their values.
import type { ComponentChildren } from 'preact';

interface PairsProps {
  readonly id?: string;
  /** An undefined value or null is left out. */
  readonly entries: readonly (readonly [name: string, value: ComponentChildren])[];
}

/** A list of names with their values. */
export function Pairs({ id, entries }: PairsProps) {
  const known = entries.filter(([, value]) => value !== undefined && value !== null);
  return (
    <dl class="pairs" id={id}>
      {known.flatMap(([name, value]) => [
        <dt key={`${name} `}>{name}</dt>,
        <dd key={name}>{value}</dd>,
      ])}
    </dl>
  );
}
