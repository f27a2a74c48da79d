// The heading of a view of the page.
import type { ComponentChildren, RefObject } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

/** Whether the user came from another view. */
let isMoved = false;
addEventListener('hashchange', () => {
  isMoved = true;
});

interface TitleProps {
  readonly id: string;
  /** The name of the view in the browser's tab. */
  readonly name: string;
  /** Default: the name. */
  readonly children?: ComponentChildren;
  readonly heading?: RefObject<HTMLHeadingElement | null>;
}

/** The heading. It takes the focus if the user comes from another view. */
export function Title({ id, name, children = name, heading = useRef(null) }: TitleProps) {
  useLayoutEffect(() => {
    if (!isMoved) return;
    heading.current!.focus();
    scrollTo(0, 0);
  }, []);
  useEffect(() => {
    document.title = `${name} · lorikeet`;
  }, [name]);
  return (
    <h1 id={id} tabIndex={-1} ref={heading}>
      {children}
    </h1>
  );
}
