// Asks the user to confirm an action. The layout shows the question (`confirm-dialog.tsx`).
import { signal } from '@preact/signals';

interface Question {
  readonly title: string;
  readonly text: string;
  /** The button that acts. */
  readonly action: string;
  /** The button that changes nothing; default: Keep. */
  readonly no?: string;
}

interface Asked {
  /** Counts the questions. */
  readonly id: number;
  readonly question: Question;
  readonly resolve: (isSure: boolean) => void;
}

/** The question that is open. */
export const asked = signal<Asked>();

let count = 0;

/** Resolves with whether the user wants it. */
export function confirm(question: Question): Promise<boolean> {
  asked.value?.resolve(false); // a question in its place
  return new Promise((resolve) => {
    asked.value = { id: ++count, question, resolve };
  });
}
