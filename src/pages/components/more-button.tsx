// A button that reads more of a list.
import { useRef } from 'preact/hooks';
import { useFocusFallback } from './focus.ts';

interface MoreButtonProps {
  readonly id: string;
  readonly hasMore: boolean;
  readonly more: () => unknown;
}

/** The button. At the end of the list it goes away, and its place takes the focus. */
export function MoreButton({ id, hasMore, more }: MoreButtonProps) {
  const place = useRef<HTMLParagraphElement>(null);
  useFocusFallback(place, place);
  return (
    <p class="row center" ref={place} tabIndex={-1}>
      {hasMore && (
        <button type="button" id={id} onClick={more}>
          Show more
        </button>
      )}
    </p>
  );
}
