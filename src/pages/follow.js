// Follows a log that grows at the end of the page, but only while the reader is at its end.

/** Nearer to the end than this is at the end: a line of text. */
const NEAR_PX = 32;

/**
 * @param {HTMLElement} log
 * @param {HTMLElement} button shown while the reader is elsewhere; leads back to the end
 * @returns {() => void} goes to the end and follows from there
 */
export function followEnd(log, button) {
  let isFollowing = true;
  let lastY = scrollY;
  addEventListener(
    'scroll',
    () => {
      const isUp = scrollY < lastY;
      const distance = distanceToEnd();
      lastY = scrollY;
      // Whoever scrolls up wants to read, however near the end is.
      if (distance <= 1) isFollowing = true;
      else if (isUp) isFollowing = false;
      else if (distance < NEAR_PX) isFollowing = true;
      showButton();
    },
    { passive: true },
  );
  const toEnd = () => {
    isFollowing = true;
    scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
    showButton();
  };
  const showButton = () => {
    button.hidden = isFollowing || distanceToEnd() < NEAR_PX;
  };
  new ResizeObserver(() => {
    if (isFollowing) toEnd();
    else showButton();
  }).observe(log);
  button.addEventListener('click', toEnd);
  return toEnd;
}

function distanceToEnd() {
  return document.documentElement.scrollHeight - innerHeight - scrollY;
}
