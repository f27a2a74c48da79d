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
  readonly question: Question;
  readonly resolve: (isSure: boolean) => void;
}

/** The question that is open. */
export const asked = signal<Asked>();

/** Resolves with whether the user wants it. */
export function confirm(question: Question): Promise<boolean> {
  asked.value?.resolve(false); // a question in its place
  return new Promise((resolve) => {
    asked.value = { question, resolve };
  });
}
