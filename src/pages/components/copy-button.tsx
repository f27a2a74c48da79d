// A button that copies a text and says so for a moment.
import { useState } from 'preact/hooks';
import { copyText } from '../browser.ts';

const FEEDBACK_MS = 2_000;

interface CopyButtonProps {
  /** Returns the text to copy. */
  readonly read: () => string;
  /** For screen readers, such as "the code". */
  readonly what: string;
  readonly text?: string;
}

/** A small button that copies a text. */
export function CopyButton({ read, what, text = 'Copy' }: CopyButtonProps) {
  const [feedback, setFeedback] = useState<string>();
  const copy = async () => {
    setFeedback((await copyText(read())) ? 'Copied' : 'Not copied');
    setTimeout(() => setFeedback(undefined), FEEDBACK_MS);
  };
  return (
    <button type="button" class="quiet small" onClick={copy}>
      <span>{feedback ?? text}</span>
      <span class="hidden"> {what}</span>
    </button>
  );
}
