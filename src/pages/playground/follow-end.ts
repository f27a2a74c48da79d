// Keeps the end of a growing element in view while the user is there. Scrolls no further than needed.
import { useSignal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { store } from './store.ts';

/** The user is at the end if the distance is less than this, about a line of text. */
const NEAR_PX = 32;

/** Follows the end of the chat. An empty chat stays at its top, however small the window is. */
export function useFollowEnd(area: RefObject<HTMLElement | null>) {
  const { shownEnd, path } = store;
  const isAway = useSignal(false);
  const isFollowing = useRef(true);
  const lastY = useRef(0);
  const distance = () => area.current!.getBoundingClientRect().bottom - innerHeight;
  const look = () => {
    isAway.value = !isFollowing.current && distance() >= NEAR_PX;
  };
  const scrollToEnd = () => {
    isFollowing.current = true;
    // A scroll by nothing would end one that the user has just begun.
    if (path.value.length > 0 && distance() > 0) {
      scrollBy({ top: distance(), behavior: 'instant' });
    }
    lastY.current = scrollY; // or a user who scrolls up while the chat grows would seem to scroll down
    look();
  };
  useLayoutEffect(() => {
    const onScroll = () => {
      const isUp = scrollY < lastY.current;
      lastY.current = scrollY;
      // Scrolling up means reading, however near the end is.
      if (distance() <= 1) isFollowing.current = true;
      else if (isUp) isFollowing.current = false;
      else if (distance() < NEAR_PX) isFollowing.current = true;
      look();
    };
    addEventListener('scroll', onScroll, { passive: true });
    const observer = new ResizeObserver(() => (isFollowing.current ? scrollToEnd() : look()));
    observer.observe(area.current!);
  }, []);
  useLayoutEffect(scrollToEnd, [shownEnd.value]);
  return { isAway: isAway.value && path.value.length > 0, scrollToEnd };
}
