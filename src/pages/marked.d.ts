// The server serves the package's own file as marked.js.
export { lexer } from 'marked';
