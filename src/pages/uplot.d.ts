// The server serves the package's minified file as uplot.js.
import uPlot from 'uplot';

export default uPlot;
