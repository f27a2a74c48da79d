// A modal dialog.
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { focusMain } from './focus.ts';

interface DialogProps {
  /** The element is `ID-dialog`, its heading `ID-title`. */
  readonly id: string;
  readonly title: string;
  readonly isOpen: boolean;
  /** Called with the value of the button that closed it; empty after Escape. */
  readonly onClose: (value: string) => void;
  readonly isWide?: boolean;
  readonly children: ComponentChildren;
}

/**
 * A modal dialog. Its content exists while it is open. The browser gives the focus back when it closes; if nothing had it, the
 * page's content gets it.
 */
export function Dialog({ id, title, isOpen, onClose, isWide = false, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = dialog.current!;
    if (!isOpen) return undefined;
    element.returnValue = '';
    element.showModal();
    return () => {
      element.close();
      if (document.activeElement === document.body) focusMain();
    };
  }, [isOpen]);
  return (
    <dialog
      ref={dialog}
      id={`${id}-dialog`}
      class={isWide ? 'wide' : ''}
      aria-labelledby={`${id}-title`}
      onClose={() => {
        const element = dialog.current; // null: it is gone, and the event comes late
        if (isOpen && element) onClose(element.returnValue);
      }}
    >
      {isOpen && (
        <>
          <h2 id={`${id}-title`}>{title}</h2>
          {children}
        </>
      )}
    </dialog>
  );
}
