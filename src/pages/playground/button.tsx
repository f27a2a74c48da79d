// Buttons without a border.
import type { JSX } from 'preact';

/** A small button, unless it gets another class. */
export function Act({ class: name = 'quiet small', ...rest }: JSX.IntrinsicElements['button']) {
  return <button {...rest} type="button" class={name} />;
}
