// A small button whose name for screen readers says what it acts on.
import { confirm } from './confirm.ts';

interface ActionButtonProps {
  readonly label: string;
  /** Follows the label in its name. */
  readonly target: string;
  readonly act: () => unknown;
  /** Asked first, for something that cannot be undone. */
  readonly question?: Parameters<typeof confirm>[0];
  /** Why it cannot be pressed now. */
  readonly hindrance?: string | undefined;
}

/** The button. */
export function ActionButton({ label, target, act, question, hindrance }: ActionButtonProps) {
  return (
    <button
      type="button"
      class={question ? 'small danger' : 'small'}
      aria-label={`${label} ${target}`}
      disabled={hindrance !== undefined}
      title={hindrance}
      onClick={async () => (!question || (await confirm(question))) && act()}
    >
      {label}
    </button>
  );
}
