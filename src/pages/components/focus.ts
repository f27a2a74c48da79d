// Keeps the focus on the page if the element that has it goes away, or is replaced by a field.
import type { RefObject } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

/** Focuses `fallback` if a render removes the focused element of `area`, and the page's content if `area` goes with it. */
export function useFocusFallback(
  area: RefObject<HTMLElement | null>,
  fallback: RefObject<HTMLElement | null>,
): void {
  const hadFocus = area.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    if (hadFocus && !area.current?.contains(document.activeElement)) fallback.current?.focus();
  });
  useLayoutEffect(() => {
    const element = area.current;
    return () => {
      if (element?.contains(document.activeElement)) focusMain();
    };
  }, []);
}

/** Focuses the page's content, without scrolling. */
export function focusMain(): void {
  document.getElementById('main')?.focus({ preventScroll: true });
}

/** Focuses an element again when the field that replaced it closes with the focus. */
export function useFocusBack(element: RefObject<HTMLElement | null>, isReplaced: boolean): void {
  const was = useRef(false);
  useLayoutEffect(() => {
    if (was.current && !isReplaced) keepFocus(element.current);
    was.current = isReplaced;
  }, [isReplaced]);
}

/** Focuses an element if the one that had the focus is gone or can no longer have it. */
export function keepFocus(element: HTMLElement | null): void {
  const { activeElement, body } = document;
  if (activeElement === body || activeElement?.matches(':disabled')) element?.focus();
}
