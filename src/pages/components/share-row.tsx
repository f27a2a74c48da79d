// A probability or a similarity with its name, for a list of `alternatives`.
import { percent } from '../format.ts';

interface ShareRowProps {
  readonly name: string;
  /** 0 to 1. */
  readonly share: number;
  /** Default: the share in percent. */
  readonly text?: string | undefined;
  readonly isChosen: boolean;
}

/** A line with a bar. */
export function ShareRow({ name, share, text = percent(share), isChosen }: ShareRowProps) {
  return (
    <p class={isChosen ? 'chosen' : ''}>
      <code>{name}</code>
      <meter max={1} value={share} aria-hidden="true" />
      <span>{text}</span>
    </p>
  );
}
