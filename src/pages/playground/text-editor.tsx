// A text field in place of a prompt, an answer or a title.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { Act } from './button.tsx';

interface EditorProps {
  readonly label: string;
  readonly action: string;
  readonly text: string;
  /** Whether the first key press replaces the text. */
  readonly isSelected?: boolean;
  readonly onCancel: () => void;
  readonly onDone: (text: string) => void;
}

/** The field. Enter does what its button does, Escape cancels. */
export function TextEditor({
  label,
  action,
  text,
  isSelected = false,
  onCancel,
  onDone,
}: EditorProps) {
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    field.current!.focus();
    field.current!.setSelectionRange(isSelected ? 0 : text.length, text.length);
  }, []);
  const finish = () => onDone(field.current!.value.trim());
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') onCancel();
    else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) finish();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="edit">
      <textarea ref={field} rows={2} aria-label={label} defaultValue={text} onKeyDown={onKeyDown} />
      <div class="row end">
        <Act onClick={onCancel}>Cancel</Act>
        <button type="button" class="primary small" onClick={finish}>
          {action}
        </button>
      </div>
    </div>
  );
}
