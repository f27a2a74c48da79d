/** Style sheets become files that the layout links. */
declare module '*.css';
