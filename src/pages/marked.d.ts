// What the server serves as marked.js is the package's own file.
export { lexer } from 'marked';
